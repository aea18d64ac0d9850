"""Distances between samples against closed forms."""

import numpy as np
import pytest

from micromacro.estimates.distances import coordinate_wasserstein, energy_coefficient


def test_a_shift_of_a_gaussian_is_its_wasserstein_distance():
    rng = np.random.default_rng(0)
    shifts = np.array([0.5, -1.5, 3.0])
    first, second = rng.normal(size=(20_000, 3)) * [1.0, 2.0, 0.5], rng.normal(size=(10_000, 3)) * [1.0, 2.0, 0.5]
    found = coordinate_wasserstein(first, second + shifts)
    # while samples hardly cross, the distance is the difference of means: standard error σ √(1/n + 1/m)
    error = np.array([1.0, 2.0, 0.5]) * np.sqrt(1 / 20_000 + 1 / 10_000)
    assert np.all(np.abs(found - np.abs(shifts)) < 4 * error)


def test_a_change_of_width_is_its_wasserstein_distance():
    rng = np.random.default_rng(1)
    found = coordinate_wasserstein(rng.normal(size=(40_000, 1)), 3 * rng.normal(size=(40_000, 1)))
    # ∫|3u - u| φ(u) du = 2 √(2/π)
    assert abs(found[0] - 2 * np.sqrt(2 / np.pi)) < 4 * np.sqrt(10 * (1 - 2 / np.pi) / 40_000)


def test_a_sample_is_no_distance_from_itself():
    sample = np.random.default_rng(2).normal(size=(50, 2))
    np.testing.assert_array_equal(coordinate_wasserstein(sample, sample[::-1]), 0.0)


@pytest.mark.parametrize("dimension", [1, 5])
def test_equal_laws_have_energy_coefficient_zero_within_error(dimension):
    rng = np.random.default_rng(3)
    found = np.array(
        [energy_coefficient(rng.normal(size=(150, dimension)), rng.normal(size=(200, dimension))) for _ in range(100)]
    )
    assert abs(found.mean()) < 4 * found.std(ddof=1) / 10
    assert found.std() < 0.01
    # unbiased: it is below zero about as often as one expects of a skewed law around zero
    assert found.min() < 0


def test_the_coefficient_of_a_shift_is_that_of_the_closed_form():
    rng = np.random.default_rng(4)
    pairs = [(rng.normal(size=(300, 1)), 2.0 + rng.normal(size=(300, 1))) for _ in range(40)]
    found = [energy_coefficient(first, second) for first, second in pairs]
    # E|N(m, 2)| with the folded normal; scaling by the pooled deviation cancels in one dimension
    across = 2 * np.sqrt(1 / np.pi) * np.exp(-1.0) + 2.0 * 0.84270079295
    exact = (2 * across - 4 / np.sqrt(np.pi)) / (2 * across)
    # a ratio of means: biased by less than a hundredth of its size here
    assert abs(np.mean(found) - exact) < 4 * np.std(found, ddof=1) / np.sqrt(40) + 0.002


def test_weights_turn_one_law_into_another():
    """Draws of N(1, 1) with weights of N(0, 1): no distance from N(0, 1), and one without the weights."""
    rng = np.random.default_rng(5)
    weighted, plain = [], []
    for _ in range(100):
        first, second = rng.normal(size=(150, 2)), rng.normal(size=(300, 2)) + np.array([1.0, 0.0])
        weighted.append(energy_coefficient(first, second, np.exp(0.5 - second[:, 0])))
        plain.append(energy_coefficient(first, second))
    assert abs(np.mean(weighted)) < 4 * np.std(weighted, ddof=1) / 10
    assert np.mean(plain) > 0.05
    assert np.mean(plain) > 10 * np.std(weighted) / 10


def test_the_scale_of_weights_and_of_coordinates_does_not_matter():
    rng = np.random.default_rng(6)
    first, second, weight = rng.normal(size=(40, 3)), rng.normal(size=(50, 3)) + 0.5, rng.random(50)
    found = energy_coefficient(first, second, weight)
    scale = np.array([1.0, 1e-3, 50.0])
    assert energy_coefficient(first * scale, second * scale, 7 * weight) == pytest.approx(found, rel=1e-10)
    assert energy_coefficient(first, second, np.ones(50)) == pytest.approx(energy_coefficient(first, second))


def test_separate_points_have_coefficient_one():
    first, second = np.zeros((10, 2)), np.ones((12, 2))
    assert energy_coefficient(first, second) == pytest.approx(1.0)
    assert energy_coefficient(first, first) == 0.0


def test_a_constant_coordinate_says_nothing():
    rng = np.random.default_rng(7)
    first, second = rng.normal(size=(40, 1)), rng.normal(size=(50, 1)) + 0.5
    wide = [np.concatenate([part, np.full((len(part), 1), 3.0)], axis=1) for part in (first, second)]
    assert energy_coefficient(*wide) == pytest.approx(energy_coefficient(first, second), rel=1e-12)
