"""The method micro-macro: refused where it cannot be exact, within its budget, and right by quadrature."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from micromacro.cases.case import CoupleSettings, GeneratorSettings
from micromacro.cases.file import load_case
from micromacro.chain import CHUNKS, FEWEST_CYCLES, MOST_CYCLES, MOST_FRAMES, chain_size
from micromacro.errors import BudgetError, InputError
from micromacro.run import run
from micromacro.store import Store
from tests.run.conftest import ring_case, small_hidden_barrier


def test_a_generator_without_a_density_is_refused(tmp_path):
    case = small_hidden_barrier(generator=GeneratorSettings("gan"))
    with pytest.raises(InputError, match=r"generator\.kind must have a density for method micro-macro"):
        run(case, tmp_path / "out", method="micro-macro")
    assert not (tmp_path / "out").exists()


def test_a_system_without_a_density_is_refused():
    with pytest.raises(InputError, match="method must be coupled or unbiased"):
        run(load_case("half-moon"), method="micro-macro")


def test_a_system_whose_observation_has_no_inverse_is_refused():
    case = small_hidden_barrier()
    with pytest.raises(InputError, match="method must not be micro-macro where"):
        run(replace(case, system=replace(case.system, hidden=None)), method="micro-macro")


def test_a_budget_that_is_too_small_names_the_whole_of_it(tmp_path):
    with pytest.raises(BudgetError, match="at least") as coupled:
        run(small_hidden_barrier(budget=500_000), tmp_path / "coupled")
    with pytest.raises(BudgetError, match="at least") as chain:
        run(small_hidden_barrier(budget=500_000), tmp_path / "chain", method="micro-macro")
    needed = [int(str(error.value).split()[5]) for error in (coupled, chain)]
    assert needed[1] == 2 * needed[0]


@pytest.mark.parametrize("walkers", [8, 96, 256, 20_000])
@pytest.mark.parametrize("each", [502, 777, 3_000, 50_000])
def test_chains_stay_within_what_is_left(walkers, each):
    size = chain_size(walkers, walkers * each)
    assert size.evaluations <= walkers * each
    assert size.evaluations > 0.7 * walkers * each
    assert FEWEST_CYCLES <= size.cycles <= MOST_CYCLES
    assert CHUNKS * size.frames * walkers <= max(MOST_FRAMES, CHUNKS * walkers)


def test_chains_that_would_be_too_short_are_refused():
    with pytest.raises(BudgetError, match="after training; 40000 are left"):
        chain_size(100, 40_000)


@pytest.fixture(scope="module")
def barrier(tmp_path_factory):
    case = small_hidden_barrier(generator=GeneratorSettings("flow", width=32, training_steps=750))
    return run(case, tmp_path_factory.mktemp("barrier") / "out", method="micro-macro")


@pytest.mark.slow
def test_the_chain_agrees_with_quadrature(barrier):
    surface, exact = barrier.free_energy, barrier.case.exact
    truth = exact.free_energy(surface.grid.points)
    low = truth - truth.min() < 8
    difference = surface.free_energy - truth
    difference = (difference - np.nanmean(difference[surface.free_energy < 6]))[low]
    assert np.nanmean((difference / surface.stderr[low]) ** 2) < 3.0
    assert np.sqrt(np.nanmean(difference**2)) < 0.25
    hidden = exact.hidden_weight(barrier.closure.z)
    assert np.nanmean(np.abs(barrier.closure.observables["hidden_weight"] - hidden)) < 0.05


@pytest.mark.slow
def test_the_chain_stays_within_its_budget_and_is_judged(barrier):
    summary = barrier.summary
    assert 0.8 * barrier.case.budget < summary["force_evaluations"] <= barrier.case.budget
    assert all(check["passed"] is not False for check in summary["consistency"].values())
    assert summary["consistency"]["mixing"]["passed"] is True
    assert summary["consistency"]["conditionals"]["passed"] is True
    assert summary["consistency"]["overlap"]["passed"] is None
    assert summary["chain"]["micro"] > 0.2
    assert {"macro", "local", "cycles", "walkers"} <= set(summary["chain"])
    assert Store(barrier.path).read("chain")["blurred"].dims == ("frame", "walker", "component")


@pytest.mark.slow
def test_the_results_of_a_chain_can_be_used_and_resumed(barrier, tmp_path):
    lift = barrier.lift(np.array([[0.3]]), 500)
    exact = barrier.case.exact.hidden_weight(np.array([[0.3]]))[0]
    assert abs((lift.q[:, 1] > 0).mean() - exact) < 4 * np.sqrt(exact * (1 - exact) / lift.ess[0]) + 0.02
    assert "mixing" in barrier.write_report().read_text(encoding="utf-8")
    copy = tmp_path / "out"
    shutil.copytree(barrier.path, copy)
    (copy / "summary.json").unlink()
    shutil.rmtree(copy / "store" / "close.zarr")
    again = run(barrier.case, copy, method="micro-macro", resume=True)
    np.testing.assert_array_equal(again.free_energy.free_energy, barrier.free_energy.free_energy)
    assert again.summary["force_evaluations"] == barrier.summary["force_evaluations"]


@pytest.mark.slow
def test_a_periodic_case_without_a_budget_spends_as_much_on_the_chain(tmp_path):
    case = replace(ring_case(), generator=GeneratorSettings("kernel"), couple=CoupleSettings(rounds=1, cycles=5))
    result = run(case, tmp_path / "out", method="micro-macro")
    stages = result.summary["stages"]
    chain = stages["chain"]["force_evaluations"]
    training = sum(stage["force_evaluations"] for name, stage in stages.items() if name not in ("chain", "close"))
    assert 0.7 * training < chain <= training
    surface = result.free_energy
    angle = surface.grid.points[:, 0]
    difference = surface.free_energy - (2.0 * np.cos(2 * angle) + 0.5 * np.sin(angle))
    difference = difference - np.nanmean(difference[surface.free_energy < 6])
    assert np.nanmean((difference / surface.stderr) ** 2) < 3.0
    assert result.summary["consistency"]["mixing"]["passed"] is True
