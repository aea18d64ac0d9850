"""Runs with a target error: when they stop, what they say, that budgets hold, that quiet windows are not believed."""

import shutil
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micromacro import pipeline, plan, stages
from micromacro.cases.case import BiasSettings, Case, CloseSettings, CoupleSettings, GeneratorSettings, TargetSettings
from micromacro.cases.file import load_case
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.allocation import Spending, share_copies
from micromacro.coupling.estimate import Segment
from micromacro.errors import BudgetError, InputError
from micromacro.progress import Progress
from micromacro.round_sizes import COPIES, Affordable, first_size, next_size, round_schedule, round_steps
from micromacro.run import run
from micromacro.sampling.production import Frames
from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import Windows
from micromacro.store import Store
from micromacro.systems.model import OverdampedSystem
from micromacro.target import UNKNOWN, Reached, verdict

BASINS = {"left": (np.array([-1.6]), np.array([0.0])), "right": (np.array([0.0]), np.array([1.6]))}


def wells(q):
    return 2 * (q[0] ** 2 - 1) ** 2 + 0.3 * q[0] + 2 * (q[1] - q[0]) ** 2


def small(target: float | None = 0.2, of: str = "free_energy", allocation: str | None = None, **changed) -> Case:
    system = OverdampedSystem(wells, 2, np.array([[-1.0, -1.0], [1.0, 1.0]]))
    coarse = CoarseVariable(lambda q: q[:1], np.array([-1.6]), np.array([1.6]), (False,))
    case = Case(
        "wells",
        "Two wells",
        system,
        coarse,
        bias=BiasSettings(windows=6, walkers=8, steps=400),
        couple=CoupleSettings(rounds=2),
        close=CloseSettings({"second": lambda q: q[1]}, BASINS, bursts=0, full_model=0),
        target=TargetSettings(target, of, allocation),
    )
    return replace(case, **changed)


def sample(case: Case, folder) -> tuple[pipeline.Sampled, int]:
    under_way = stages.Run(case, Store(folder), Progress(quiet=True), stages.engine_for(case))
    return pipeline.sample_windows(under_way, coupled=False), under_way.engine.evaluations


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory):
    return run(small(), tmp_path_factory.mktemp("adaptive") / "out", method="umbrella")


def test_a_run_stops_when_its_target_is_met(adaptive):
    found = adaptive.summary["target_error"]
    assert found["met"] is True
    assert found["reached"] <= found["wanted"] == 0.2
    assert found["reason"] == ""
    assert found["allocation"] == "adaptive"
    surface = adaptive.free_energy
    low = surface.free_energy < 6
    # the error that decides is that of free_energy.csv
    assert found["reached"] == pytest.approx(np.sqrt(np.mean(surface.stderr[low] ** 2)), rel=1e-9)


def test_the_rounds_say_what_they_held(adaptive):
    first, *others = adaptive.summary["rounds"]
    assert first["copies"] == [1] * 6
    # 40 cycles of two steps each
    assert first["steps"] == 80
    assert others
    for entry in others:
        assert sum(entry["copies"]) in [copies * 6 for copies in COPIES]
        assert min(entry["copies"]) >= 1
    assert adaptive.summary["rounds"][-1]["stderr"] == adaptive.summary["target_error"]["reached"]


def test_a_run_with_a_target_goes_on_where_it_was_interrupted(adaptive, tmp_path):
    copy = tmp_path / "out"
    shutil.copytree(adaptive.path, copy)
    (copy / "summary.json").unlink()
    last = len(adaptive.summary["rounds"])
    for name in ("close", f"round_{last}"):
        shutil.rmtree(copy / "store" / f"{name}.zarr")
    again = run(adaptive.case, copy, method="umbrella", resume=True)
    np.testing.assert_array_equal(again.free_energy.free_energy, adaptive.free_energy.free_energy)
    assert again.summary["target_error"] == adaptive.summary["target_error"]
    assert again.summary["force_evaluations"] == adaptive.summary["force_evaluations"]


def test_a_run_that_is_resumed_keeps_its_target(adaptive):
    with pytest.raises(InputError, match="resumed"):
        run(small(0.1), adaptive.path, method="umbrella", resume=True)


def test_where_nothing_is_known_of_the_error_all_windows_get_the_work_that_there_may_be():
    case, walkers = small(0.1), 8
    frames = Frames(
        np.zeros((10, 6, walkers, 2)), np.zeros((10, 6, walkers, 1)), np.zeros((10, 6, walkers)), np.ones(6)
    )
    windows = Windows(jnp.linspace(-1.5, 1.5, 6)[:, None], jnp.array([30.0]), zero_table(case.coarse, 8))
    segment = Segment(windows, frames, np.zeros(6, int), interval=40)
    found = next_size(case, windows, walkers, [segment], UNKNOWN, Affordable(10, None), 0)
    assert found is not None
    assert found.columns.tolist() == list(range(6))
    assert found.steps == 2 * 10 * 40


@pytest.mark.slow
@pytest.mark.parametrize("of", ["basins", "second"])
def test_other_targets_are_met_too(of, tmp_path):
    found, _ = sample(small(0.15, of), tmp_path)
    assert found.target is not None
    assert found.target["met"] is True
    assert found.target["of"] == of


@pytest.mark.slow
@given(
    budget=st.integers(150_000, 600_000),
    target=st.floats(0.02, 0.5),
    allocation=st.sampled_from([None, "uniform", "adaptive"]),
    method=st.sampled_from(["coupled", "umbrella"]),
    seed=st.integers(0, 3),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_budget_is_never_exceeded_whatever_the_target(budget, target, allocation, method, seed, tmp_path_factory):
    case = small(target, allocation=allocation, budget=budget, seed=seed, generator=GeneratorSettings("kernel"))
    try:
        found = run(case, tmp_path_factory.mktemp("budget") / "out", method=method)
    except BudgetError:
        return
    assert found.summary["force_evaluations"] <= budget
    row = found.summary["target_error"]
    assert row["met"] or row["reason"]


@given(left=st.integers(0, 10**6), overhead=st.integers(1, 1000))
@settings(deadline=None)
def test_a_first_round_leaves_room_for_another(left, overhead):
    case = small()
    windows = Windows(jnp.linspace(-1, 1, 6)[:, None], jnp.array([20.0]), zero_table(case.coarse, 8))
    size = first_size(case, windows, 8, Affordable(overhead, left), rounds_left=1)
    if size is not None:
        assert size.steps >= plan.FEWEST_STEPS
        assert 2 * 6 * 8 * (size.steps + overhead) <= left


@pytest.mark.slow
def test_a_target_that_the_budget_cannot_reach_is_not_called_met(tmp_path):
    found, spent = sample(small(0.001, budget=250_000), tmp_path)
    assert spent <= 250_000
    assert found.target is not None
    assert found.target["met"] is False
    assert "budget" in found.target["reason"]


def test_a_small_error_is_not_enough_where_a_check_fails():
    row = verdict(TargetSettings(0.1), Reached(0.05, np.zeros(1)), ["mixing"], "the budget was spent")
    assert row["met"] is False
    assert "mixing" in row["reason"]
    good = verdict(TargetSettings(0.1), Reached(0.05, np.zeros(1)), [], "")
    assert good["met"] is True
    unknown = verdict(TargetSettings(0.1), Reached(np.inf, np.zeros(0)), [], "the budget was spent")
    assert unknown["met"] is False
    assert unknown["reached"] is None


@pytest.mark.slow
def test_walkers_that_never_cross_a_hidden_barrier_meet_no_target(tmp_path):
    # all walkers of a window begin in either hidden well and stay: the wrong weight looks exact within each
    case = replace(load_case("hidden-barrier"), bias=BiasSettings(windows=16, walkers=8, steps=400))
    found, _ = sample(replace(case, target=TargetSettings(0.5), budget=3_000_000), tmp_path)
    assert found.target is not None
    assert found.target["met"] is False
    assert "mixing" in found.target["reason"]
    least = np.sum([row["copies"] for row in found.rounds], axis=0)
    assert least.min() >= len(found.rounds)


def test_a_window_that_learned_nothing_keeps_a_quarter_of_the_mean():
    spent = Spending(np.ones(4), np.array([0.0, 1.0, 1.0, 1.0]))
    copies = share_copies(spent, COPIES[-1] * 4, 1.0)
    assert copies[0] >= copies.mean() / COPIES[-1]


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"target": TargetSettings(0.1, "pressure")}, "budget.error_of"),
        ({"target": TargetSettings(0.1, "second")}, "budget.target_error"),
        ({"target": TargetSettings(0.1, allocation="adaptive"), "bias": BiasSettings(exchange=True)}, "allocation"),
    ],
)
def test_what_a_run_could_not_judge_is_refused(changed, key, tmp_path):
    method = "unbiased" if key == "budget.target_error" else "umbrella"
    with pytest.raises(InputError, match=key):
        run(replace(small(), **changed), tmp_path / "out", method=method)


def test_longer_rounds_have_more_moves_not_rarer_ones():
    case = small(0.01, bias=BiasSettings(windows=6, walkers=8, steps=1600))
    first = round_schedule(case, round_steps(case), 48, moves=True)
    later = round_schedule(case, 20_000, 48, moves=True)
    assert first.frames * first.interval == 10
    assert later.frames * later.interval <= 10
    alone = round_schedule(case, 20_000, 48, moves=False)
    assert alone.cycles == plan.cycles_for(case)


def frames_of(walkers: int, count: int = 40) -> Frames:
    shape = (count, 6, walkers)
    return Frames(np.zeros((*shape, 2)), np.zeros((*shape, 1)), np.zeros(shape), np.ones(6))


def test_a_round_with_moves_is_no_longer_than_its_frames_fit():
    case, walkers = small(0.001, bias=BiasSettings(windows=6, walkers=8, steps=1600)), 2000
    windows = Windows(jnp.linspace(-1.5, 1.5, 6)[:, None], jnp.array([30.0]), zero_table(case.coarse, 8))
    segment = Segment(windows, frames_of(walkers), np.zeros(6, int), interval=200, independence=0.5)
    now = Reached(0.1, np.full(6 * walkers, 1e-6))
    affordable = Affordable(40, None, moves=True)
    found = next_size(case, windows, walkers, [segment], now, affordable, 0)
    assert found is not None
    assert found.steps <= max(40, 160_000 // (len(found.columns) * walkers)) * 10
    alone = next_size(case, windows, walkers, [segment], now, Affordable(40, None), 0)
    assert alone is not None
    assert alone.steps > found.steps


def test_frames_that_are_independent_already_are_not_made_wider():
    """What is kept of a round is bounded: where its frames are independent, a longer one tells no more."""
    case, walkers = small(0.05, bias=BiasSettings(windows=6, walkers=8, steps=1600), allocation="uniform"), 8
    windows = Windows(jnp.linspace(-1.5, 1.5, 6)[:, None], jnp.array([30.0]), zero_table(case.coarse, 8))
    now = Reached(0.1, np.full(6 * walkers, 0.01 / (6 * walkers)))
    found = {}
    for share in (0.02, 0.99):
        # frames of 40 cycles and 5 each, 100 steps apart
        segment = Segment(windows, frames_of(walkers, 200), np.zeros(6, int), interval=100, independence=share)
        size = next_size(case, windows, walkers, [segment], now, Affordable(40, None), 0)
        assert size is not None
        found[share] = size.steps
    assert found[0.99] < found[0.02]


def test_where_only_checks_fail_chains_become_longer():
    case, walkers = small(0.1), 8
    windows = Windows(jnp.linspace(-1.5, 1.5, 6)[:, None], jnp.array([30.0]), zero_table(case.coarse, 8))
    segment = Segment(windows, frames_of(walkers), np.zeros(6, int), interval=40)
    now = Reached(0.05, np.full(6 * walkers, 1e-4))
    found = next_size(case, windows, walkers, [segment], now, Affordable(10, None), 0)
    assert found is not None
    assert found.steps == 2 * 40 * 40
    assert found.columns.tolist() == list(range(6))
