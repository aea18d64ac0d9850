"""What only many or long runs can show: honest standard errors, and training data in wrong proportions."""

from dataclasses import replace

import numpy as np
import pytest

from micromacro.cases.case import BiasSettings, CoupleSettings, GeneratorSettings
from micromacro.cases.file import load_case
from micromacro.run import run
from tests.run.test_run import errors

pytestmark = pytest.mark.slow


def shorter_hidden_barrier(seed):
    """The built-in case at half its cost: the errors are larger, and must be as honest."""
    return replace(
        load_case("hidden-barrier"),
        seed=seed,
        bias=BiasSettings(windows=24, stiffness=80.0, steps=1000, walkers=64),
        generator=GeneratorSettings(training_steps=2000),
        couple=CoupleSettings(rounds=2, cycles=20),
    )


def test_standard_errors_are_honest_over_ten_seeds(tmp_path):
    squares, weights, rms, basins = [], [], [], []
    for seed in range(10):
        result = run(shorter_hidden_barrier(seed), tmp_path / str(seed))
        error, stderr = errors(result)
        squares.append(np.mean((error / stderr) ** 2))
        rms.append(np.sqrt(np.mean(error**2)))
        exact = result.case.exact.hidden_weight(result.closure.z)
        weights.append(np.nanmean(np.abs(result.closure.observables["hidden_weight"] - exact)))
        right = result.summary["basins"]["right"]
        left = result.summary["basins"]["left"]
        # the two basins mirror each other, so the exact difference is zero
        difference = right["free_energy_kT"] - left["free_energy_kT"]
        basins.append(difference / max(right["stderr_kT"], left["stderr_kT"]))
    ratio = np.sqrt(np.mean(squares))
    print(f"rms of error over standard error {ratio:.3f}, of basins {np.sqrt(np.mean(np.square(basins))):.3f}")
    print(f"rms error of F (kT) {np.round(rms, 4)}; mean error of the hidden weight {np.round(weights, 4)}")
    assert 0.6 < ratio < 1.5
    assert 0.5 < np.sqrt(np.mean(np.square(basins))) < 1.7
    assert np.mean(rms) < 0.05
    assert np.mean(weights) < 0.02


@pytest.mark.parametrize("name", ["muller-brown", "three-atom", "half-moon-confined", "curved-level-sets"])
def test_free_energies_of_the_built_in_cases(name, tmp_path):
    result = run(load_case(name), tmp_path / name)
    error, stderr = errors(result, ceiling=10.0)
    print(
        f"{name}: rms error {np.sqrt(np.mean(error**2)):.4f} kT, over its standard error "
        f"{np.sqrt(np.mean((error / stderr) ** 2)):.2f}, {result.summary['force_evaluations']} evaluations"
    )
    assert np.sqrt(np.mean(error**2)) < (0.05 if name == "half-moon-confined" else 0.1)
    if result.case.exact.hidden_weight is not None:
        exact = result.case.exact.hidden_weight(result.closure.z)
        assert np.nanmean(np.abs(result.closure.observables["hidden_weight"] - exact)) < 0.05


def test_two_coarse_variables(tmp_path):
    result = run(load_case("two-coarse-variables"), tmp_path / "two")
    error, stderr = errors(result)
    print(f"two coarse variables: rms error {np.sqrt(np.nanmean(error**2)):.4f} kT")
    assert np.sqrt(np.nanmean((error / stderr) ** 2)) < 1.5
    lift = result.lift(np.array([[-0.3, 0.4]]), 500)
    assert np.all(np.abs(lift.z - lift.at) <= 0.01 * result.case.coarse.range + 1e-12)


def test_bath_of_twenty_dimensions(tmp_path):
    result = run(load_case("hidden-barrier-bath"), tmp_path / "bath")
    error, _ = errors(result)
    exact = result.case.exact.hidden_weight(result.closure.z)
    weight = np.nanmean(np.abs(result.closure.observables["hidden_weight"] - exact))
    summary = result.summary
    print(
        f"bath: rms error {np.sqrt(np.mean(error**2)):.4f} kT, hidden weight {weight:.4f}, "
        f"{summary['force_evaluations']} evaluations, {summary['wall_seconds']:.0f} s"
    )
    assert np.sqrt(np.mean(error**2)) < 0.1
    assert weight < 0.05
    assert summary["force_evaluations"] <= 100_000_000
