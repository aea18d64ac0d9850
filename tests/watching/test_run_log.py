"""What a run says of itself."""

import threading
import warnings
from itertools import pairwise

import pytest

from micromacro.errors import PhysicsError
from micromacro.progress import Progress
from micromacro.watching import log_file, run_log
from micromacro.watching.run_log import recorded


def logged(store) -> list[dict]:
    return log_file.read_events(store / log_file.LOG)


def test_stages_come_with_what_they_cost(tmp_path, clock):
    with recorded(tmp_path, resumed=False, case="wells", seed=3) as log:
        progress = Progress(quiet=True, listener=log)
        progress.finished("explore", wall_seconds=1.5, force_evaluations=10, found=True)
        with progress.stage("bias", total=400, unit="walker-steps", evaluations=lambda: 70) as stage:
            clock.now = 10.0
            stage.advance(100)
        progress.finished("bias", wall_seconds=12.0, force_evaluations=400, found=False)
        log.say(log_file.FINISHED, force_evaluations=410)
    begun, found, began, advanced, finished, end = logged(tmp_path)
    assert (begun["event"], begun["case"], begun["seed"]) == ("run begun", "wells", 3)
    assert (found["event"], found["force_evaluations"]) == ("stage found finished", 10)
    assert (began["stage"], began["total"], began["unit"]) == ("bias", 400, "walker-steps")
    assert (advanced["done"], advanced["rate"], advanced["force_evaluations"]) == (100, 10.0, 70)
    assert (finished["event"], finished["wall_seconds"]) == ("stage finished", 12.0)
    assert end["event"] == "finished"


def test_progress_thins_out(tmp_path, clock):
    with recorded(tmp_path, resumed=False) as log, Progress(quiet=True, listener=log).stage("bias") as stage:
        for second in range(20_000):
            clock.now = float(second)
            stage.advance()
    at = [event["done"] - 1 for event in logged(tmp_path) if event["event"] == "progress"]
    waits = [after - before for before, after in pairwise(at)]
    assert (waits[0], waits[-1]) == (2, 60)
    assert max(waits) == 60
    # 2 s up to 200 s, then a hundredth of the time up to 6000 s, then a minute
    assert len(at) == pytest.approx(100 + 100 * 3.4 + 14_000 / 60, rel=0.1)


@pytest.mark.parametrize(
    ("error", "event", "said"),
    [
        (KeyboardInterrupt("SIGTERM"), "interrupted", {"signal": "SIGTERM"}),
        (KeyboardInterrupt(), "interrupted", {"signal": "SIGINT"}),
        (
            PhysicsError("F is NaN", where="window 3", remedy="Shorten it."),
            "failed",
            {"message": "PhysicsError: F is NaN (window 3). Shorten it."},
        ),
    ],
)
def test_every_end_is_told(tmp_path, error, event, said):
    with pytest.raises(type(error)), recorded(tmp_path, resumed=True):
        raise error
    begun, end = logged(tmp_path)
    assert (begun["event"], end["event"]) == ("run resumed", event)
    assert said.items() <= end.items()


def test_a_warning_is_written_once_and_still_shown(tmp_path):
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with recorded(tmp_path, resumed=False):
            for _ in range(3):
                warnings.warn("thin overlap", stacklevel=1)
        warnings.warn("after its end", stacklevel=1)
    assert len(shown) == 4
    assert [event["message"] for event in logged(tmp_path) if event["event"] == "warning"] == [
        "UserWarning: thin overlap"
    ]


def test_a_run_that_computes_for_long_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(run_log, "MOST_SECONDS_BETWEEN_LINES", 0.02)
    with recorded(tmp_path, resumed=False):
        threading.Event().wait(0.3)
    assert [event["event"] for event in logged(tmp_path)].count("alive") >= 2
    assert not [thread for thread in threading.enumerate() if thread.name == "run log" and thread.join(1.0)]
