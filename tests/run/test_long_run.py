"""Systems whose density is unknown: conditionals without a free energy."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from micromacro.cases.case import BiasSettings, GeneratorSettings
from micromacro.cases.file import load_case
from micromacro.errors import InputError
from micromacro.run import run


@pytest.fixture(scope="module")
def half_moon(tmp_path_factory):
    case = load_case("half-moon")
    generator, close = GeneratorSettings(width=32, training_steps=250), replace(case.close, bursts=500_000)
    case = replace(case, generator=generator, close=close)
    return run(case, tmp_path_factory.mktemp("half-moon") / "out")


def test_a_drifting_coarse_variable_has_no_free_energy(half_moon):
    assert half_moon.summary["stationary"] is False
    assert half_moon.summary["corrected"] is False
    with open(half_moon.path / "free_energy.csv", newline="") as file:
        assert all(row["free_energy_kT"] == "" for row in csv.DictReader(file))


def test_its_conditional_samples_are_right_all_the_same(half_moon):
    rng = np.random.default_rng(0)
    for z in (1.4, 2.0, 2.5, 3.2, 3.6):
        draws = half_moon.lift(np.array([[z]]), 8000, seed=2).q
        exact = half_moon.case.exact.sample_conditional(np.array([z]), 40_000, rng)
        distance = [wasserstein_distance(a, b) for a, b in zip(draws.T, exact.T, strict=True)]
        assert max(distance) < 0.02


def test_a_bias_is_refused(half_moon):
    for method in ("umbrella", "generator"):
        with pytest.raises(InputError, match="no bias is meaningful"):
            run(half_moon.case, method=method)


def test_a_stationary_system_has_a_free_energy(tmp_path):
    case = load_case("multiplicative-closure")
    close = replace(case.close, bursts=0, full_model=0)
    case = replace(case, bias=BiasSettings(steps=16_000, walkers=16), close=close, budget=13_000_000)
    result = run(case, tmp_path / "out", method="unbiased")
    assert result.summary["generator"] is None
    exact = case.exact.free_energy(result.free_energy.grid.points)
    difference = result.free_energy.free_energy - exact
    low = result.free_energy.free_energy < 6
    difference = difference - difference[low].mean()
    assert result.summary["stationary"] is True
    # the answer is exact to the order of ε = 0.01; the cells share walkers, so the bound is a wide one
    assert np.mean((difference[low] / np.hypot(result.free_energy.stderr[low], 0.02)) ** 2) < 3.0
