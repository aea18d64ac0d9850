"""A run whose coarse variable is learned: a bent valley between two wells, judged against quadrature."""

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from micromacro import coarsening, coarsening_budget, plan, stages
from micromacro.cases.case import (
    BiasSettings,
    Case,
    CloseSettings,
    CoarsenSettings,
    CoupleSettings,
    ExploreSettings,
)
from micromacro.coordinates.coarse import unlearned
from micromacro.errors import BudgetError, InputError, PhysicsError
from micromacro.progress import Progress
from micromacro.run import Result, run
from micromacro.sampling.engine import JaxEngine
from micromacro.store import Store
from micromacro.systems.model import OverdampedSystem, StochasticSystem

BUDGET = 1_500_000
STARTS = np.array([[-1.0, 1.0], [1.0, 1.0]])
LEARNING = CoarsenSettings(points=300, rounds=2, walkers=8, steps=200, surrogate=False)


def potential(q):
    """Two wells at the ends of a valley along y = x², 3 kT apart."""
    return 3 * (q[0] ** 2 - 1) ** 2 + 8 * (q[1] - q[0] ** 2) ** 2


def bent_case(initial=STARTS, **settings) -> Case:
    case = Case(
        "bent",
        "A bent valley",
        OverdampedSystem(potential, 2, initial),
        unlearned(1),
        bias=BiasSettings(windows=10, walkers=16, steps=400),
        couple=CoupleSettings(rounds=1),
        close=CloseSettings(bursts=0, full_model=0),
        budget=BUDGET,
        coarsen=LEARNING,
    )
    return replace(case, **settings)


def without_density(drift=lambda q: -jax.grad(potential)(q)) -> StochasticSystem:
    """The same valley by its drift alone."""
    return StochasticSystem(drift, lambda _: jnp.full(2, jnp.sqrt(2.0)), 2, STARTS, time_step=0.005)


def under_way(case: Case, path) -> stages.Run:
    return stages.Run(case, Store(path), Progress(quiet=True), JaxEngine(case.system, case.coarse))


def grid_of_states() -> tuple[np.ndarray, np.ndarray]:
    """States `(n, 2)` over all that weighs anything, and exp(-V) of each."""
    x, y = np.linspace(-2.1, 2.1, 301), np.linspace(-1.2, 4.6, 401)
    states = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    return states, np.exp(-np.asarray(jax.vmap(potential)(jnp.asarray(states))))


def along_the_valley(coarse) -> float:
    """|Rank correlation| of ξ with x where the density is within 6 kT of its greatest."""
    states, weight = grid_of_states()
    likely = states[weight > np.exp(-6)]
    return abs(spearmanr(likely[:, 0], np.asarray(jax.vmap(coarse)(jnp.asarray(likely)))[:, 0]).statistic)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    return run(bent_case(), tmp_path_factory.mktemp("learned") / "out", method="umbrella")


def test_the_coordinate_grows_along_the_valley(learned):
    assert along_the_valley(learned.case.coarse) > 0.97
    ends = learned.coarse_values(STARTS)[:, 0]
    assert learned.case.coarse.lower[0] < ends.min()
    assert ends.max() < learned.case.coarse.upper[0]


def test_the_free_energy_is_that_of_the_learned_coordinate(learned):
    states, weight = grid_of_states()
    surface = learned.free_energy
    centres = surface.grid.points[:, 0]
    half = (centres[1] - centres[0]) / 2
    share, _ = np.histogram(
        learned.coarse_values(states)[:, 0], np.append(centres - half, centres[-1] + half), weights=weight
    )
    with np.errstate(divide="ignore"):
        exact = -np.log(share / share.max())
    low = exact < 5
    assert low.sum() > 60
    difference = surface.free_energy[low] - exact[low]
    difference = difference - difference.mean()
    assert np.mean((difference / surface.stderr[low]) ** 2) < 3.0
    # the same ξ without weights of its level sets would be far off
    assert np.std(exact[low]) > 0.6


def test_the_rounds_are_told(learned):
    summary = json.loads((learned.path / "summary.json").read_text())
    found = summary["coarsening"]
    assert [row["round"] for row in found["rounds"]] == list(range(1, len(found["rounds"]) + 1))
    assert found["rounds"][0]["change"] is None
    assert all(row["states"] == 300 for row in found["rounds"])
    last = found["rounds"][-1]
    assert found["settled"] is (last["change"] <= LEARNING.tolerance)
    np.testing.assert_array_equal(last["lower"], learned.case.coarse.lower)
    spent = [row["force_evaluations"] for row in found["rounds"]]
    assert spent == sorted(spent)
    assert spent[-1] < coarsening_budget.BUDGET_SHARE * BUDGET


def test_stages_of_rounds_have_their_own_names_and_all_are_counted(learned):
    costs = learned.summary["stages"]
    own = {"first_explore", "coarsen_1", "along_1_explore", "along_1_bias", "along_1_round_1", "coarsen_2"}
    assert own | {"explore", "bias", "round_1", "close"} == set(costs) == set(Store(learned.path).names)
    assert learned.summary["force_evaluations"] == sum(cost["force_evaluations"] for cost in costs.values())
    assert learned.summary["force_evaluations"] <= BUDGET


def test_results_are_loaded_with_the_same_coordinate(learned):
    again = Result.load(learned.path, bent_case())
    states = np.random.default_rng(0).normal(size=(50, 2))
    np.testing.assert_allclose(again.coarse_values(states), learned.coarse_values(states), rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(again.case.coarse.lower, learned.case.coarse.lower)
    with pytest.raises(InputError, match="learned before it is evaluated"):
        bent_case().coarse(jnp.zeros(2))


def test_states_of_another_size_are_refused(learned):
    with pytest.raises(InputError, match=r"observed states \(n, 2\)"):
        learned.coarse_values(np.zeros((4, 3)))


@pytest.mark.slow
def test_the_report_shows_the_coordinate(learned):
    page = learned.write_report().read_text()
    assert "Learned coarse variable" in page
    assert "Sampled states coloured by" in page


def test_a_run_that_learned_otherwise_is_not_resumed(learned):
    other = bent_case(coarsen=replace(LEARNING, points=310))
    with pytest.raises(InputError, match="resumed"):
        run(other, learned.path, method="umbrella", resume=True)


def resumed(learned, path, *lost: str) -> Result:
    """The run gone on with after some of its stages were lost."""
    shutil.copytree(learned.path, path)
    (path / "summary.json").unlink()
    for stage in lost:
        shutil.rmtree(path / "store" / f"{stage}.zarr")
    return run(bent_case(), path, method="umbrella", resume=True)


def same(first: Result, second: Result) -> None:
    np.testing.assert_array_equal(first.free_energy.free_energy, second.free_energy.free_energy)
    for key in ("coarsening", "force_evaluations", "basins"):
        assert first.summary[key] == second.summary[key]


def test_a_run_killed_before_its_end_goes_on_with_what_was_learned(learned, tmp_path):
    same(resumed(learned, tmp_path / "out", "close"), learned)


@pytest.mark.slow
def test_a_run_killed_while_it_learns_goes_on_to_the_same_numbers(learned, tmp_path):
    later = ("along_1_round_1", "coarsen_2", "explore", "bias", "round_1", "close")
    same(resumed(learned, tmp_path / "out", *later), learned)


def test_parts_have_keys_and_names_of_their_own(tmp_path):
    main = under_way(bent_case(), tmp_path)
    first, second = main.within("along_1", main.case), main.within("along_2", main.case)
    keys = [jax.random.key_data(one.key(3)).tolist() for one in (main, first, second)]
    assert len({tuple(key) for key in keys}) == 3
    assert jax.random.key_data(main.within("along_1", main.case).key(3)).tolist() == keys[1]
    assert [one.stage_name("bias") for one in (main, first)] == ["bias", "along_1_bias"]
    first.engine.evaluations = 7
    assert main.engine.evaluations == 0
    assert first.within("", main.case).engine.evaluations == 7
    assert first.costs is main.costs


def test_a_budget_too_small_for_the_first_states_is_refused_before_anything_is_simulated(tmp_path):
    starting = under_way(bent_case(budget=50_000), tmp_path)
    with pytest.raises(BudgetError, match="budget must be at least"):
        coarsening.learn_coarse(starting)
    assert starting.engine.evaluations == 0
    with pytest.raises(BudgetError, match="budget must be at least"):
        run(bent_case(budget=50_000), tmp_path / "out", method="umbrella")


def test_a_small_budget_leaves_one_round_alone(tmp_path):
    first = plan.exploration_cost(len(STARTS), plan.EXPLORERS)
    found, told = coarsening.learn_coarse(under_way(bent_case(budget=3 * first), tmp_path))
    assert "budget's share" in told.reason
    assert (len(told.rounds), told.settled) == (1, None)
    assert found.engine.evaluations <= 3 * first


@pytest.mark.slow
@pytest.mark.parametrize("budget", [450_000, 700_000])
def test_the_budget_is_never_exceeded(tmp_path, budget):
    found = run(bent_case(budget=budget), tmp_path / "out", method="umbrella")
    assert found.summary["force_evaluations"] <= budget


def test_without_a_density_the_coordinate_is_learned_once(tmp_path):
    explore = ExploreSettings(steps=2000, walkers=32)
    case = bent_case(system=without_density(), explore=explore, coarsen=replace(LEARNING, rounds=3))
    found, told = coarsening.learn_coarse(under_way(case, tmp_path))
    assert "no bias is meaningful without a density" in told.reason
    assert len(told.rounds) == 1
    assert set(found.costs) == {"first_run", "coarsen_1"}
    assert found.engine.evaluations == 32 * 2000
    assert along_the_valley(found.case.coarse) > 0.97


def test_without_a_density_the_first_run_has_a_share_of_the_budget(tmp_path):
    explore = ExploreSettings(steps=20_000, walkers=32)
    case = bent_case(system=without_density(), explore=explore, budget=200_000)
    found, _ = coarsening.learn_coarse(under_way(case, tmp_path))
    assert 0 < found.engine.evaluations <= coarsening_budget.BUDGET_SHARE * 200_000


@pytest.mark.slow
def test_without_a_density_the_long_run_counts_what_learning_cost(tmp_path):
    case = bent_case(system=without_density(), explore=ExploreSettings(steps=4000, walkers=32), budget=600_000)
    found = run(case, tmp_path / "out", method="unbiased")
    assert found.summary["coarsening"]["settled"] is None
    assert found.summary["force_evaluations"] <= 600_000


def test_a_first_run_that_diverges_says_so(tmp_path):
    case = bent_case(system=without_density(lambda q: q**3), explore=ExploreSettings(steps=2000, walkers=8))
    with pytest.raises(PhysicsError, match="finite"):
        coarsening.learn_coarse(under_way(case, tmp_path))


@pytest.mark.parametrize("kind", ["tica", "vamp"])
def test_time_lagged_kinds_learn_the_slow_direction(kind, tmp_path):
    case = bent_case(coarsen=CoarsenSettings(kind=kind, lag=0.1, rounds=1, points=200), budget=None)
    found, told = coarsening.learn_coarse(under_way(case, tmp_path))
    assert along_the_valley(found.case.coarse) > 0.95
    assert "learned 1 time" in told.reason
    assert found.costs["coarsen_1"]["force_evaluations"] > 200 * 12


def test_a_lag_that_the_budget_cannot_hold_is_refused(tmp_path):
    case = bent_case(coarsen=CoarsenSettings(kind="tica", lag=50.0, rounds=1, points=200))
    with pytest.raises(BudgetError, match="lag"):
        coarsening.learn_coarse(under_way(case, tmp_path))


@pytest.mark.slow
def test_tica_learns_again_from_weighted_states(tmp_path):
    case = bent_case(coarsen=CoarsenSettings(kind="tica", lag=0.1, rounds=2, points=200, walkers=8, steps=200))
    found, told = coarsening.learn_coarse(under_way(case, tmp_path))
    assert len(told.rounds) == 2
    assert along_the_valley(found.case.coarse) > 0.95


REFUSED = {
    "alpha of tica": (CoarsenSettings(kind="tica", lag=0.1, alpha=0.5), r"coarse\.alpha must be left out"),
    "no lag": (CoarsenSettings(kind="tica"), r"coarse\.lag must be given"),
    "lag of a diffusion map": (CoarsenSettings(lag=0.1), r"coarse\.lag must be left out"),
    "weights for vamp": (CoarsenSettings(kind="vamp", lag=0.1), r"coarse\.rounds must be 1 for kind 'vamp'"),
    "no kind": (CoarsenSettings(kind="pca"), r"coarse\.kind must be one of"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learned_is_refused_before_anything_is_simulated(name, tmp_path):
    settings, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        run(bent_case(coarsen=settings), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adaptive_bias_without_a_density_is_refused(tmp_path):
    case = bent_case(system=without_density(), explore=ExploreSettings(kind="opes"))
    with pytest.raises(InputError, match=r"explore\.kind"):
        run(case, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_under_an_adaptive_bias_the_other_well_is_found(tmp_path):
    """From one well alone; the barrier of 3 kT is crossed by no short run on purpose but by the bias."""
    explore = ExploreSettings(kind="opes", steps=3000, walkers=32, barrier=8.0)
    coarsen = replace(LEARNING, rounds=3, tolerance=1e-6)
    case = bent_case(STARTS[:1], explore=explore, coarsen=coarsen, budget=6_000_000)
    found, told = coarsening.learn_coarse(under_way(case, tmp_path))
    assert len(told.rounds) == 3
    left, right = np.asarray(jax.vmap(found.case.coarse)(jnp.asarray(STARTS)))[:, 0]
    assert found.case.coarse.lower[0] < min(left, right)
    assert max(left, right) < found.case.coarse.upper[0]
    assert along_the_valley(found.case.coarse) > 0.95
