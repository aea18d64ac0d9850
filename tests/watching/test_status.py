"""How runs stand that go on, have ended in every way, or were never there; and folders that lie."""

import json
import os
import platform
import shlex
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micromacro.errors import StoreError
from micromacro.store import Store
from micromacro.watching.history import told
from micromacro.watching.log_file import LOG
from micromacro.watching.run_log import recorded
from micromacro.watching.status import last_heard, status

HERE = platform.node()


def line(event: str, *, ago: float = 1.0, **values) -> dict:
    time = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat().replace("+00:00", "Z")
    return {"time": time, "event": event, **values}


def begun(process: int = 999, host: str = HERE, **values) -> dict:
    facts = {"case": "hidden-barrier", "method": "coupled", "seed": 3, "budget": 1000}
    return line("run begun", process=process, host=host, **facts, **values)


STAGES = (
    line("stage finished", stage="explore", wall_seconds=2.0, force_evaluations=100),
    line("stage begun", stage="bias", total=400, unit="walker-steps", force_evaluations=100),
    line("progress", stage="bias", done=100, total=400, unit="walker-steps", rate=10.0, force_evaluations=200),
)


@pytest.fixture
def folder(tmp_path):
    """Writes the log of a run."""

    def write(*events: dict, case: dict | None = None):
        out = tmp_path / "out"
        for name in ("store", "case"):
            (out / name).mkdir(parents=True, exist_ok=True)
        (out / "store" / LOG).write_text("".join(json.dumps(event) + "\n" for event in events))
        (out / "case" / "case.json").write_text(json.dumps(case or {"name": "hidden-barrier", "file": None}))
        return out

    return write


def test_a_run_under_way(tmp_path):
    out = tmp_path / "out"
    with Store(out).locked(), recorded(out / "store", resumed=False, case="wells", budget=1000) as log:
        log.stage_finished("explore", 2.0, 100, found=False)
        log.stage_begun("bias", 400, "walker-steps", 150)
        found = status(out)
    assert (found.state, found.process, found.host) == ("running", os.getpid(), HERE)
    assert (found.case, found.budget, found.force_evaluations) == ("wells", 1000, 150)
    assert found.stage is not None
    assert (found.stage.name, found.stage.share) == ("bias", 0.0)
    assert (found.stages["explore"].wall_seconds, found.stages["explore"].force_evaluations) == (2.0, 100)
    assert found.age_seconds == pytest.approx(0, abs=5)
    assert found.to_go_on is None


def test_looking_changes_nothing(folder):
    out = folder(begun(), *STAGES)
    before = {path: path.stat().st_mtime_ns for path in [out, *out.rglob("*")]}
    status(out)
    assert {path: path.stat().st_mtime_ns for path in [out, *out.rglob("*")]} == before


@pytest.mark.parametrize(
    ("end", "state", "message"),
    [
        ((), "stopped", None),
        ((line("interrupted", signal="SIGTERM"),), "interrupted", "SIGTERM"),
        ((line("failed", message="F is NaN"),), "failed", "F is NaN"),
        # of a run on the same folder that was stopped before it could begin
        ((line("interrupted", signal="SIGINT", process=1, host=HERE),), "stopped", None),
    ],
)
def test_runs_that_have_ended(folder, end, state, message):
    out = folder(begun(), *STAGES, *end)
    found = status(out)
    assert (found.state, found.message) == (state, message)
    assert found.stage is not None
    assert (found.stage.share, found.stage.seconds_left) == (0.25, 30.0)
    assert found.force_evaluations == 200
    assert found.to_go_on == f"micromacro run hidden-barrier -o {shlex.quote(str(out))} --method coupled --resume"


def test_a_run_that_goes_on_keeps_what_is_finished(folder):
    found = status(folder(begun(), *STAGES, line("failed", message="x"), begun() | {"event": "run resumed"}))
    assert (found.state, found.message, found.stage) == ("stopped", None, None)
    assert (list(found.stages), found.force_evaluations) == (["explore"], 100)


def test_a_run_before_its_first_line(folder):
    out = folder(begun(), *STAGES, line("failed", message="of the one before"))
    with Store(out).locked():
        found = status(out)
    assert (found.state, found.process, found.message, found.stage) == ("running", os.getpid(), None, None)


def test_a_finished_run_is_told_by_its_results(folder):
    out = folder(begun(), *STAGES)
    (out / "summary.json").write_text(json.dumps({"case": "wells", "force_evaluations": 777}))
    found = status(out)
    assert (found.state, found.case, found.force_evaluations, found.to_go_on) == ("finished", "wells", 777, None)


@pytest.mark.parametrize(
    ("ago", "state", "known"),
    [(10, "running", True), (4000, "unknown", True), (-60, "running", True), (-4000, "unknown", False)],
)
def test_a_run_on_another_machine_is_judged_by_its_last_line(folder, ago, state, known):
    found = status(folder(begun(host="node7"), line("alive", ago=ago)))
    assert (found.state, found.elsewhere, found.host) == (state, True, "node7")
    assert (found.age_seconds is not None) == known
    assert (found.age_seconds or 0) >= 0


def test_a_clock_that_was_set_does_no_harm():
    # an hour ahead by the clock on the wall; the other clock of this machine says the truth
    event = line("alive", ago=-3600) | {"monotonic": 0.0}
    assert last_heard(event, same_clock=True)[1] > 0
    assert last_heard(event, same_clock=False)[1] is None
    assert last_heard(event | {"time": "9999-99-99"}, same_clock=False) == (None, None)


def test_the_copy_of_a_case_serves_where_its_file_is_gone(folder):
    out = folder(begun(), case={"name": "gone/case.toml", "file": "case.toml"})
    assert str(out / "case" / "case.toml") in shlex.split(status(out).to_go_on or "")


def test_a_folder_without_a_run(tmp_path):
    for out in (tmp_path, tmp_path / "missing"):
        with pytest.raises(StoreError, match="which holds none"):
            status(out)
    assert not (tmp_path / "missing").exists()


KINDS = ["run begun", "run resumed", "stage begun", "stage finished", "progress", "warning", "failed", "interrupted"]
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, 1e-300, 1e300])
PLAIN = st.none() | st.booleans() | st.text() | NUMBERS
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner), max_leaves=3)
KEYS = ["stage", "unit", "done", "total", "rate", "force_evaluations", "wall_seconds", "message", "process", "time"]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(KEYS), VALUES)), max_size=6))
def test_no_log_is_believed(lines):
    events = [values | {"event": kind} for kind, values in lines]
    found, _ = told(events)
    shown = json.dumps(found.as_dict(), allow_nan=False, ensure_ascii=False)
    assert shown.isprintable()
    for event in events:
        last_heard(event, same_clock=False)
