"""Importance weights and densities of Gaussians, whose every integral is known."""

import numpy as np
import pytest
from scipy.stats import norm

from micromacro.errors import InputError
from micromacro.estimates.calibration import (
    density_calibration,
    effective_fraction,
    log_normaliser,
    metropolis_acceptance,
)

NARROW = 0.6


def log_weights(rng, n, constant=0.0):
    """Of the target N(0, 0.6²), times e^constant, under draws of N(0, 1)."""
    q = rng.normal(size=n)
    return norm.logpdf(q, scale=NARROW) - norm.logpdf(q) + constant


def z_scores(function, exact, repeats=200, n=400):
    rng = np.random.default_rng(0)
    found = [function(log_weights(rng, n, 700.0)) for _ in range(repeats)]
    return np.array([(each.value - exact) / each.stderr for each in found])


def test_the_normaliser_is_the_constant_with_an_honest_error(known):
    # of weights too large for a floating-point number
    assert known.honest(z_scores(log_normaliser, 700.0))


def test_acceptance_is_that_of_quadrature_with_an_honest_error(known):
    x = np.linspace(-6, 6, 1201)
    target, proposal = norm.pdf(x, scale=NARROW), norm.pdf(x)
    # E min(1, w'/w) = ∫∫ min(π(x) p(y), p(x) π(y)) dx dy
    exact = np.sum(np.minimum(np.outer(target, proposal), np.outer(proposal, target))) * 0.01**2
    assert known.honest(z_scores(metropolis_acceptance, exact))


def test_acceptance_is_its_double_sum():
    log_weight = np.random.default_rng(1).normal(size=30)
    w = np.exp(log_weight)
    double = sum(min(w[i], w[j]) for i in range(30) for j in range(30) if i != j) / (29 * w.sum())
    assert metropolis_acceptance(log_weight).value == pytest.approx(double, rel=1e-12)


def test_the_effective_fraction_is_that_of_quadrature():
    rng = np.random.default_rng(2)
    # E w² of N(0, s²) against N(0, 1) is 1 / (s √(2 - s²))
    exact = NARROW * np.sqrt(2 - NARROW**2)
    found = [effective_fraction(log_weights(rng, 2000)) for _ in range(100)]
    assert abs(np.mean(found) - exact) < 4 * np.std(found, ddof=1) / 10 + 1 / 2000


def test_equal_densities_accept_all_and_a_lone_weight_nothing():
    even, lone = np.full(50, -3.0), np.append(np.full(49, -np.inf), 2.0)
    assert metropolis_acceptance(even).value == pytest.approx(1.0)
    assert metropolis_acceptance(even).stderr == pytest.approx(0.0, abs=1e-12)
    assert (log_normaliser(even).value, effective_fraction(even)) == pytest.approx((-3.0, 1.0))
    assert metropolis_acceptance(lone).value == 0.0
    assert effective_fraction(lone) == pytest.approx(1 / 50)
    assert log_normaliser(lone).value == pytest.approx(2.0 - np.log(50))


def test_draws_that_the_target_forbids():
    nothing = np.full(5, -np.inf)
    assert log_normaliser(nothing).value == -np.inf
    assert effective_fraction(nothing) == 0.0
    with pytest.raises(InputError, match="be finite"):
        metropolis_acceptance(nothing)


@pytest.mark.parametrize("wrong", [[0.0, np.nan], [0.0, np.inf], [0.0]])
@pytest.mark.parametrize("function", [log_normaliser, effective_fraction, metropolis_acceptance])
def test_weights_that_are_none(function, wrong):
    with pytest.raises(InputError, match="log_weight"):
        function(np.array(wrong))


def calibration(rng, width, n=1000, m=1500):
    """Of a generator N(0, width²) in two dimensions against a truth N(0, 1)."""
    own, truth = width * rng.normal(size=(m, 2)), rng.normal(size=(n, 2))
    densities = [norm.logpdf(x, scale=s).sum(axis=1) for x, s in ((own, width), (truth, width), (truth, 1.0))]
    return density_calibration(*densities)


def test_the_divergence_is_that_of_the_closed_form(known):
    rng = np.random.default_rng(3)
    # ln s + 1/2s² - 1/2 per dimension
    exact = 2 * (np.log(1.5) + 1 / (2 * 1.5**2) - 0.5)
    found = [calibration(rng, 1.5, 300, 10).divergence for _ in range(200)]
    assert known.honest([(each.value - exact) / each.stderr for each in found])


def test_the_truth_is_calibrated():
    rng = np.random.default_rng(4)
    found = [calibration(rng, 1.0, 200, 300) for _ in range(200)]
    p_values = np.array([each.p_value for each in found])
    assert found[0].divergence.value == 0.0
    # as often below a tenth as chance has it: binomial of 200
    assert abs(np.mean(p_values < 0.1) - 0.1) < 4 * np.sqrt(0.09 / 200)


@pytest.mark.parametrize("width", [0.7, 1.4])
def test_coverage_of_a_wrong_width_is_that_of_the_closed_form(width):
    found = calibration(np.random.default_rng(5), width)
    # the region of level a holds r² < -2 s² ln(1 - a), which holds 1 - (1 - a)^s² of the truth
    inner = found.levels < 1.0
    exact = 1 - (1 - found.levels[inner]) ** width**2
    slope = np.maximum(1.0, width**2)
    assert np.max(np.abs(found.coverage[inner] - exact)) < 2.2 * (1 / np.sqrt(1000) + slope / np.sqrt(1500))
    assert np.all(np.diff(found.levels) >= 0)
    assert found.coverage[-1] == 1.0
    middle = np.argmin(np.abs(found.levels - 0.6))
    assert (found.coverage[middle] < found.levels[middle]) == (width < 1)
    assert found.p_value < 1e-6
    assert found.deviation == pytest.approx(np.max(np.abs(found.coverage - found.levels)), abs=2 / 1000)


def test_a_density_that_forbids_the_truth_is_infinitely_far():
    found = density_calibration(np.zeros(10), np.append(np.zeros(9), -np.inf), np.zeros(10))
    assert found.divergence is not None
    assert (found.divergence.value, found.divergence.stderr) == (np.inf, np.inf)
    assert density_calibration(np.zeros(10), np.zeros(10)).divergence is None


def test_densities_that_are_none():
    with pytest.raises(InputError, match="log_prob_of_truth_draws"):
        density_calibration(np.zeros(10), np.array([0.0, np.nan]))
