"""A run from case to results, judged against quadrature."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from micromacro.cases.case import GeneratorSettings
from micromacro.errors import BudgetError, InputError, StoreError
from micromacro.run import Result, run
from micromacro.sampling.jax_simulator import JaxSimulator
from micromacro.sampling.pool import question
from micromacro.store import Store
from micromacro.watching.log_file import LOG, read_events
from micromacro.watching.status import status
from tests.run.conftest import ring_case, small_hidden_barrier

CHECKS = {
    "restriction",
    "mixing",
    "free_energy",
    "conditionals",
    "closures",
    "dynamics",
    "overlap",
    "effective_sample_size",
}


def errors(result, ceiling=8.0):
    """Error and standard error of F, minus its mean over the cells below 6 kT, where the exact F is below `ceiling`."""
    surface = result.free_energy
    exact = result.case.exact.free_energy(surface.grid.points)
    exact = exact - exact.min()
    difference = surface.free_energy - exact
    difference = difference - np.nanmean(difference[surface.free_energy < 6])
    low = exact < ceiling
    return difference[low], surface.stderr[low]


def test_coupled_free_energy_agrees_with_quadrature(coupled):
    error, stderr = errors(coupled)
    # the cells share samples: their mean squared z-score has far fewer degrees of freedom than cells
    assert np.mean((error / stderr) ** 2) < 3.0
    assert np.sqrt(np.mean(error**2)) < 0.2


def test_umbrella_alone_is_wrong_and_says_so(umbrella, coupled):
    error, _ = errors(umbrella)
    assert np.sqrt(np.mean(error**2)) > 0.3
    assert umbrella.summary["consistency"]["mixing"]["passed"] is False
    assert coupled.summary["consistency"]["mixing"]["passed"] is True


def test_hidden_weight_comes_right_from_training_data_in_equal_proportions(coupled, umbrella):
    exact = coupled.case.exact.hidden_weight(coupled.closure.z)
    found = coupled.closure.observables["hidden_weight"]
    assert np.nanmean(np.abs(found - exact)) < 0.05
    assert np.nanmean(np.abs(umbrella.closure.observables["hidden_weight"] - exact)) > 0.2


def test_summary_holds_what_the_contract_names(coupled):
    summary = json.loads((coupled.path / "summary.json").read_text())
    names = {"version", "case", "method", "generator", "seed", "device", "force_evaluations", "wall_seconds", "stages"}
    assert names | {"basins", "consistency"} <= set(summary)
    assert set(summary["consistency"]) == CHECKS
    for check in summary["consistency"].values():
        assert set(check) == {"value", "threshold", "passed", "reason"}
    assert set(summary["basins"]) == {"left", "right"}
    assert min(basin["free_energy_kT"] for basin in summary["basins"].values()) == 0
    stages = summary["stages"].values()
    assert summary["force_evaluations"] == sum(stage["force_evaluations"] for stage in stages)


def test_budget_is_a_ceiling(coupled, umbrella):
    for result in (coupled, umbrella):
        assert 0 < result.summary["force_evaluations"] <= result.case.budget


def test_free_energy_file_has_the_columns_of_the_contract(coupled):
    with open(coupled.path / "free_energy.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["z1", "free_energy_kT", "stderr_kT"]
    values = [float(row["free_energy_kT"]) for row in rows if row["free_energy_kT"]]
    assert len(rows) >= 100
    assert min(values) == 0


def test_lifted_states_are_those_of_the_delta_conditional(coupled):
    at = np.array([[-0.4], [0.3]])
    lift = coupled.lift(at, 1500, seed=3)
    assert lift.q.shape == (3000, 2)
    assert np.all(np.abs(lift.z - lift.at) <= 0.036 + 1e-12)
    np.testing.assert_allclose(lift.q[:, 0], lift.z[:, 0])
    weight = (lift.q[:, 1] > 0).reshape(2, -1).mean(axis=1)
    exact = coupled.case.exact.hidden_weight(at)
    assert np.all(np.abs(weight - exact) < 4 * np.sqrt(exact * (1 - exact) / lift.ess) + 0.02)


def test_lifting_refuses_what_was_not_sampled(coupled, umbrella):
    with pytest.raises(InputError, match="lie between"):
        coupled.lift(np.array([[2.5]]), 10)
    with pytest.raises(InputError, match="had a generator"):
        umbrella.lift(np.array([[0.0]]), 10, exact=False)


def test_reduced_dynamics_have_the_stationary_density_of_the_closure(coupled):
    found = coupled.reduce(2.0, 64, seed=1)
    assert found.z.shape[0] == 64
    assert found.z.shape[2] == 1
    assert np.all(np.abs(found.z) <= 1.8)


def test_an_interrupted_run_goes_on_to_the_same_numbers(coupled, tmp_path):
    copy = tmp_path / "out"
    shutil.copytree(coupled.path, copy)
    (copy / "summary.json").unlink()
    shutil.rmtree(copy / "store" / "close.zarr")
    shutil.rmtree(copy / "store" / "round_2.zarr")
    kept = (copy / "store" / "round_1.zarr").stat().st_mtime_ns
    again = run(coupled.case, copy, resume=True)
    assert (copy / "store" / "round_1.zarr").stat().st_mtime_ns == kept
    np.testing.assert_array_equal(again.free_energy.free_energy, coupled.free_energy.free_energy)
    assert again.summary["force_evaluations"] == coupled.summary["force_evaluations"]


def test_a_run_broken_off_within_stages_goes_on_to_the_same_numbers_and_repeats_nothing(
    umbrella, tmp_path, monkeypatch
):
    """Broken off at three random answers of its walkers, all of which are then not asked for again."""
    advance, asked, limits = JaxSimulator.advance, [], [3, 60, 150]

    def counted(self, **task):
        if limits and len(asked) >= limits[0]:
            raise KeyboardInterrupt
        asked.append(question("advance", task))
        return advance(self, **task)

    monkeypatch.setattr(JaxSimulator, "advance", counted)
    while limits:
        with pytest.raises(KeyboardInterrupt):
            run(umbrella.case, tmp_path / "out", method="umbrella", resume=True)
        limits.pop(0)
    again = run(umbrella.case, tmp_path / "out", method="umbrella", resume=True)
    np.testing.assert_array_equal(again.free_energy.free_energy, umbrella.free_energy.free_energy)
    assert (again.path / "closure.csv").read_bytes() == (umbrella.path / "closure.csv").read_bytes()
    assert again.summary["force_evaluations"] == umbrella.summary["force_evaluations"]
    # an answer that came as another thread was broken off may be lost with it
    assert len(asked) - len(set(asked)) <= 3


def test_the_log_says_what_every_stage_cost(umbrella):
    """Stages are told in their order, and the last line says what the summary does."""
    events = read_events(umbrella.path / "store" / LOG)
    assert events[0].items() >= {"event": "run begun", "case": umbrella.summary["case"], "method": "umbrella"}.items()
    costs = {event["stage"]: event["force_evaluations"] for event in events if event["event"] == "stage finished"}
    assert costs == {name: cost["force_evaluations"] for name, cost in umbrella.summary["stages"].items()}
    assert (events[-1]["event"], events[-1]["force_evaluations"]) == (
        "finished",
        umbrella.summary["force_evaluations"],
    )
    assert status(umbrella.path).state == "finished"


def test_results_are_not_overwritten(coupled):
    with pytest.raises(StoreError, match="resume"):
        run(coupled.case, coupled.path)


def test_resuming_with_other_settings_is_refused(coupled):
    with pytest.raises(InputError, match="resumed"):
        run(replace(coupled.case, seed=5), coupled.path, resume=True)


def test_a_budget_that_is_too_small_says_what_it_must_be(tmp_path):
    with pytest.raises(BudgetError, match="at least"):
        run(small_hidden_barrier(budget=10_000), tmp_path / "out")


def test_the_store_is_readable_with_xarray(coupled):
    store = Store(coupled.path)
    assert {"explore", "bias", "learn_1", "round_1", "close"} <= set(store.names)
    record = store.read("round_1")
    assert record["position"].dims == ("frame", "window", "walker", "state")
    with pytest.raises(StoreError, match="no stage"):
        store.read("nothing")


def test_a_corrupt_stage_is_one_clear_message(coupled, tmp_path):
    copy = tmp_path / "out"
    shutil.copytree(coupled.path, copy)
    (copy / "store" / "close.zarr" / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match="Delete"):
        _ = Result.load(copy, coupled.case).closure


def test_a_finished_run_whose_damaged_stage_was_deleted_computes_it_again(umbrella, tmp_path):
    copy = tmp_path / "out"
    shutil.copytree(umbrella.path, copy)
    shutil.rmtree(copy / "store" / "close.zarr")
    again = run(umbrella.case, copy, method="umbrella", resume=True)
    np.testing.assert_array_equal(again.closure.drift, umbrella.closure.drift)


@pytest.mark.slow
def test_a_periodic_coarse_variable(ring):
    surface = ring.free_energy
    angle = surface.grid.points[:, 0]
    exact = 2.0 * np.cos(2 * angle) + 0.5 * np.sin(angle)
    difference = surface.free_energy - exact
    difference = difference - difference[surface.free_energy < 6].mean()
    assert np.mean((difference / surface.stderr) ** 2) < 3.0
    bath, stderr = ring.closure.observables["bath"], ring.closure.observables_stderr["bath"]
    assert np.mean(((bath - np.cos(angle)) / stderr) ** 2) < 3.0
    assert ring.summary["rounds"][0]["acceptance"] > 0.5
    # walkers that reached a window round either side of the circle stand in the same place
    assert ring.summary["consistency"]["mixing"]["passed"] is True
    assert ring.summary["consistency"]["conditionals"]["passed"] is True
    lift = ring.lift(np.array([[-3.1]]), 200)
    assert np.all(lift.q[:, 0] < np.pi)


def test_the_report_is_one_self_contained_file(coupled):
    page = coupled.write_report().read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "mixing" in page


@pytest.mark.parametrize("method", ["unbiased", "generator"])
def test_other_methods_give_the_same_files(method, tmp_path):
    result = run(small_hidden_barrier(), tmp_path / "out", method=method)
    assert result.summary["method"] == method
    assert result.summary["force_evaluations"] <= result.case.budget
    assert np.isfinite(result.free_energy.free_energy).any()


def test_unknown_requests_are_refused():
    with pytest.raises(InputError, match="method"):
        run(small_hidden_barrier(), method="magic")
    other = replace(small_hidden_barrier(), generator=GeneratorSettings("gan"))
    with pytest.raises(InputError, match=r"generator\.kind must have a density"):
        run(other, method="generator")
    other = replace(small_hidden_barrier(), generator=GeneratorSettings("score", knots=8))
    with pytest.raises(InputError, match=r"generator\.knots must be left out for kind 'score'"):
        run(other)


def test_walkers_agree_on_a_circle_without_a_generator(tmp_path):
    result = run(ring_case(), tmp_path / "out", method="umbrella")
    assert result.summary["consistency"]["mixing"]["passed"] is True


def test_a_scheduler_has_its_own_workers(tmp_path):
    with pytest.raises(InputError, match="--workers must be left out with --scheduler; got 2"):
        run(small_hidden_barrier(), tmp_path / "out", workers=2, scheduler="tcp://127.0.0.1:1")


def test_a_budget_too_small_to_explore_spends_nothing(tmp_path):
    with pytest.raises(BudgetError, match="force evaluations for exploration alone; got 10"):
        run(small_hidden_barrier(budget=10), tmp_path / "out")
    assert not list((tmp_path / "out" / "store").glob("*explore*"))
