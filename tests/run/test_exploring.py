"""A run that begins with an adaptive bias: hidden wells nobody named are found, sampled and judged."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro import exploring, plan, stages
from micromacro.cases.case import (
    BiasSettings,
    Case,
    CloseSettings,
    CoupleSettings,
    ExploreSettings,
    GeneratorSettings,
)
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import BudgetError
from micromacro.progress import Progress
from micromacro.records import read_opes
from micromacro.run import run
from micromacro.sampling.engine import JaxEngine
from micromacro.store import Store
from micromacro.systems.model import OverdampedSystem


def passage(q):
    """A barrier of 12 in y, but of 2 beyond x = 1.2, which costs about 5."""
    x, y = q[0], q[1]
    return 3.5 * x**2 + (2 + 10 * jax.nn.sigmoid(10 * (1.2 - x))) * (y**2 - 1) ** 2 + 0.4 * x * y


def passage_case(**settings) -> Case:
    """One starting point alone."""
    system = OverdampedSystem(passage, 2, np.array([[0.0, -1.0]]))
    coarse = CoarseVariable(lambda q: q[:1], np.array([-1.0]), np.array([1.8]), (False,))
    case = Case(
        "passage",
        "A way round a hidden barrier",
        system,
        coarse,
        bias=BiasSettings(windows=16, walkers=24, steps=400),
        generator=GeneratorSettings(width=48, training_steps=750),
        couple=CoupleSettings(rounds=2, cycles=30),
        close=CloseSettings({"upper": lambda q: jnp.where(q[1] > 0, 1.0, 0.0)}, bursts=0, full_model=0),
        explore=ExploreSettings(kind="opes", steps=4000, walkers=64, barrier=10.0),
        budget=4_000_000,
    )
    return replace(case, **settings)


def exact(z):
    """F in kT and the share of y > 0, by quadrature."""
    y = np.linspace(-2.5, 2.5, 2001)
    states = np.stack(np.meshgrid(z, y, indexing="ij"), -1)
    density = np.exp(-np.asarray(jax.vmap(jax.vmap(passage))(jnp.asarray(states))))
    total = density.sum(axis=1)
    return -np.log(total / total.max()), density[:, y > 0].sum(axis=1) / total


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run(passage_case(), tmp_path_factory.mktemp("passage") / "out")


@pytest.mark.slow
def test_a_hidden_well_that_was_not_named_is_sampled_with_its_weight(found):
    z = found.free_energy.grid.points[:, 0]
    free_energy, upper = exact(z)
    error = found.free_energy.free_energy - free_energy
    low = free_energy < 6
    error = (error - np.nanmean(error[low]))[low]
    assert np.sqrt(np.mean(error**2)) < 0.15
    assert np.mean((error / found.free_energy.stderr[low]) ** 2) < 3.0
    _, upper = exact(found.closure.z[:, 0])
    assert np.nanmean(np.abs(found.closure.observables["upper"] - upper)) < 0.05


@pytest.mark.slow
def test_mixing_between_the_wells_is_judged(found):
    mixing = found.summary["consistency"]["mixing"]
    assert mixing["passed"] is True
    assert "one starting point" not in mixing["reason"]


@pytest.mark.slow
def test_what_was_explored_is_stored_and_counted(found):
    summary = json.loads((found.path / "summary.json").read_text())
    assert {"explore", "opes", "explore_wells"} <= set(summary["stages"])
    assert summary["force_evaluations"] == sum(stage["force_evaluations"] for stage in summary["stages"].values())
    assert summary["force_evaluations"] <= found.case.budget
    explored = [summary["stages"][name]["force_evaluations"] for name in ("opes", "explore_wells")]
    assert sum(explored) <= 0.2 * found.case.budget
    _, wells = read_opes(Store(found.path).read("opes"))
    np.testing.assert_array_equal(wells.initial[0], [0.0, -1.0])
    assert wells.initial[1:, 1].max() > 0.8
    np.testing.assert_array_equal(found.case.system.initial, [[0.0, -1.0]])


def under_way(case, path):
    return stages.Run(case, Store(path), Progress(quiet=True), JaxEngine(case.system, case.coarse))


def test_exploring_adds_the_hidden_well_within_its_share_and_is_resumed(tmp_path):
    case = passage_case(budget=2_500_000)
    first = under_way(case, tmp_path)
    extended, explored = exploring.explore(first, plan.Budget(case.budget))
    np.testing.assert_array_equal(extended.case.system.initial[0], [0.0, -1.0])
    assert extended.case.system.initial[1:, 1].max() > 0.8
    assert explored.exploration.position.shape[1] == len(extended.case.system.initial)
    assert explored.seeds is not None
    upper = extended.case.system.initial[explored.seeds.label, 1] > 0
    # states between the wells may relax into either
    assert np.mean((explored.seeds.position[:, 1] > 0) == upper) > 0.95
    assert 0 < explored.cost <= plan.OPES_SHARE * case.budget
    assert first.engine is extended.engine
    again = under_way(case, tmp_path)
    resumed, same = exploring.explore(again, plan.Budget(case.budget))
    assert again.engine.evaluations == first.engine.evaluations
    np.testing.assert_array_equal(resumed.case.system.initial, extended.case.system.initial)
    np.testing.assert_array_equal(same.seeds.position, explored.seeds.position)
    np.testing.assert_array_equal(same.segments[0].frames.position, explored.segments[0].frames.position)
    stored = stages.stored_exploration(again)
    np.testing.assert_array_equal(stored.position, explored.exploration.position)


def test_unbiased_exploring_is_the_short_runs_alone(tmp_path):
    case = passage_case(explore=ExploreSettings())
    started = under_way(case, tmp_path)
    same, explored = exploring.explore(started, plan.Budget(case.budget))
    assert same is started
    assert explored.seeds is None
    assert explored.segments == ()
    assert explored.cost == 0
    assert started.engine.evaluations == plan.exploration_cost(1, plan.EXPLORERS)


@pytest.mark.slow
def test_a_run_goes_on_after_the_exploration(found, tmp_path):
    short = passage_case(couple=CoupleSettings(rounds=1, cycles=10), generator=GeneratorSettings(training_steps=100))
    whole = run(short, tmp_path / "whole", method="umbrella")
    part = tmp_path / "part"
    for stage in ("explore", "opes", "explore_wells"):
        Store(part).write(stage, Store(whole.path).read(stage))
    resumed = run(short, part, method="umbrella", resume=True)
    np.testing.assert_array_equal(resumed.free_energy.free_energy, whole.free_energy.free_energy)
    assert resumed.summary["force_evaluations"] == whole.summary["force_evaluations"]


@pytest.mark.slow
def test_without_the_adaptive_bias_the_answer_is_wrong(tmp_path):
    missed = run(passage_case(explore=ExploreSettings()), tmp_path / "out", method="umbrella")
    _, upper = exact(missed.closure.z[:, 0])
    assert np.nanmean(np.abs(missed.closure.observables["upper"] - upper)) > 0.2
    assert missed.summary["consistency"]["mixing"]["passed"] is not True


def test_a_budget_too_small_for_the_bias_says_what_to_do(tmp_path):
    with pytest.raises(BudgetError, match=r"\[explore\] walkers"):
        run(passage_case(budget=500_000), tmp_path / "out")
