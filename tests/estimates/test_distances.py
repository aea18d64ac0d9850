"""Distances between samples against closed forms."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import gamma
from scipy.stats import kstest

from micromacro.errors import InputError
from micromacro.estimates.distances import (
    coordinate_wasserstein,
    embed_periodic,
    energy_coefficient,
    energy_distance,
    maximum_mean_discrepancy,
    permutation_p_value,
    pooled_scale,
    sliced_wasserstein,
)


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


def test_a_shift_of_a_gaussian_is_its_sliced_wasserstein_distance():
    """In three dimensions |θ₁| is uniform in [0, 1]: half the shift over the pooled deviation."""
    rng = np.random.default_rng(8)
    n, shift = 2000, 3.0
    first, second = rng.normal(size=(n, 3)), rng.normal(size=(n, 3)) + np.array([shift, 0.0, 0.0])
    found = sliced_wasserstein(first, second, rng, directions=200)
    scale = np.sqrt(1 + shift**2 / 4)
    # 200 directions; the noise of the samples, about 1/√n, adds to the distance where the shift is small
    error = shift / scale / np.sqrt(12 * 200) + 1 / np.sqrt(n)
    assert abs(found - shift / 2 / scale) < 4 * error


def test_weights_make_the_sliced_distance_vanish():
    rng = np.random.default_rng(9)
    first, second = rng.normal(size=(2000, 2)), rng.normal(size=(2000, 2)) + np.array([0.7, 0.0])
    weighted = sliced_wasserstein(first, second, rng, weight=np.exp(0.245 - 0.7 * second[:, 0]))
    assert weighted < 4 * np.sqrt(2 / 2000) < sliced_wasserstein(first, second, rng) / 3
    assert sliced_wasserstein(first, first[::-1], rng) == pytest.approx(0.0, abs=1e-12)


def test_the_energy_distance_of_two_widths_is_that_of_the_closed_form():
    rng = np.random.default_rng(10)
    width, norm = 2.0, np.sqrt(2) / gamma(1.5)
    found = [energy_distance(rng.normal(size=(300, 3)), width * rng.normal(size=(300, 3))) for _ in range(40)]
    exact = norm * (2 * np.sqrt(1 + width**2) - np.sqrt(2) * (1 + width)) / np.sqrt((1 + width**2) / 2)
    # the pooled deviation is an estimate: its variance biases the distance by about 1/n of the terms it is made of
    assert abs(np.mean(found) - exact) < 4 * np.std(found, ddof=1) / np.sqrt(40) + 0.003


@pytest.mark.parametrize("statistic", [energy_distance, maximum_mean_discrepancy])
def test_equal_laws_are_no_distance_apart_within_error_with_and_without_weights(statistic):
    rng = np.random.default_rng(11)
    plain, weighted, blind = [], [], []
    for _ in range(60):
        first, same, moved = rng.normal(size=(80, 2)), rng.normal(size=(100, 2)), rng.normal(size=(160, 2))
        moved[:, 0] += 1.0
        plain.append(statistic(first, same))
        weighted.append(statistic(first, moved, np.exp(0.5 - moved[:, 0])))
        blind.append(statistic(first, moved))
    assert abs(np.mean(plain)) < 4 * np.std(plain, ddof=1) / np.sqrt(60)
    assert abs(np.mean(weighted)) < 4 * np.std(weighted, ddof=1) / np.sqrt(60)
    assert np.mean(blind) > 2 * np.std(weighted)
    assert min(plain) < 0


def test_the_mean_discrepancy_is_its_double_sum():
    rng = np.random.default_rng(12)
    first, second, weight = rng.normal(size=(7, 2)), rng.normal(size=(9, 2)) + 0.5, rng.random(9)
    scale = np.std(np.concatenate([first, second]), axis=0)
    x, y, share = first / scale, second / scale, weight / weight.sum()
    both = [*x, *y]
    median = np.median([np.linalg.norm(a - b) for i, a in enumerate(both) for b in both[:i]])

    def kernel(a, b):
        return np.mean([np.exp(-np.sum((a - b) ** 2) / (2 * (w * median) ** 2)) for w in (0.25, 0.5, 1, 2, 4)])

    within_x = sum(kernel(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / 42
    pairs = [(i, j) for i in range(9) for j in range(9) if i != j]
    within_y = sum(share[i] * share[j] * kernel(y[i], y[j]) for i, j in pairs) / sum(
        share[i] * share[j] for i, j in pairs
    )
    across = sum(kernel(a, b) * s for a in x for b, s in zip(y, share, strict=True)) / 7
    found = maximum_mean_discrepancy(first, second, weight)
    assert found == pytest.approx(within_x + within_y - 2 * across, rel=1e-12)


def test_the_energy_coefficient_is_the_energy_distance_over_the_mean_distance_across():
    rng = np.random.default_rng(13)
    first, second = rng.normal(size=(30, 2)), rng.normal(size=(40, 2)) + 1.0
    scale = pooled_scale(first, second)
    across = np.mean(cdist(first / scale, second / scale))
    coefficient = energy_coefficient(first, second)
    assert energy_distance(first, second) == pytest.approx(2 * across * coefficient, rel=1e-12)


@pytest.mark.parametrize("statistic", [energy_distance, energy_coefficient, maximum_mean_discrepancy])
def test_a_single_state_has_no_distance_from_others_of_its_sample(statistic):
    with pytest.raises(InputError, match="two or more states"):
        statistic(np.zeros((1, 2)), np.ones((5, 2)))
    with pytest.raises(InputError, match="two or more states"):
        statistic(np.zeros((5, 2)), np.ones((3, 2)), np.array([0.0, 1.0, 0.0]))


def test_states_on_either_side_of_a_period_are_close():
    states = np.array([[1.0, 0.1, -2.0], [3.0, 5.9, 7.0]])
    embedded = embed_periodic(states, np.array([np.inf, 6.0, np.inf]))
    assert embedded.shape == (2, 4)
    np.testing.assert_array_equal(embedded[:, [0, 3]], states[:, [0, 2]])
    # a chord of 0.2 on a circle of circumference 6
    assert np.linalg.norm(embedded[0, 1:3] - embedded[1, 1:3]) == pytest.approx(6 / np.pi * np.sin(np.pi * 0.2 / 6))


def test_whole_periods_make_no_distance():
    rng = np.random.default_rng(14)
    period = np.array([2 * np.pi, np.inf])
    first, second = rng.normal(size=(60, 2)), rng.normal(size=(60, 2))
    turned = second + np.array([2 * np.pi, 0.0]) * rng.integers(-3, 4, size=(60, 1))
    embedded = [embed_periodic(part, period) for part in (first, second, turned)]
    near, far = energy_distance(embedded[0], embedded[1]), energy_distance(embedded[0], embedded[2])
    assert far == pytest.approx(near, abs=1e-12)


@pytest.mark.parametrize("statistic", [energy_distance, maximum_mean_discrepancy])
def test_one_array_of_pairs_gives_the_p_value_of_a_loop(statistic):
    rng = np.random.default_rng(15)
    first, second = rng.normal(size=(20, 2)), rng.normal(size=(25, 2)) + 0.3
    fast = permutation_p_value(statistic, first, second, np.random.default_rng(0), 99)
    slow = permutation_p_value(lambda a, b: statistic(a, b), first, second, np.random.default_rng(0), 99)
    assert fast == slow
    assert 0.01 < fast < 1


def test_p_values_of_equal_laws_are_uniform_and_of_different_ones_small():
    rng = np.random.default_rng(16)
    draws = [(rng.normal(size=(30, 2)), rng.normal(size=(40, 2))) for _ in range(100)]
    found = [permutation_p_value(energy_distance, first, second, rng, 199) for first, second in draws]
    assert kstest(found, "uniform").pvalue > 1e-3
    assert permutation_p_value(energy_distance, draws[0][0], draws[0][1] + 2.0, rng, 199) == 1 / 200


def test_any_statistic_has_a_p_value():
    rng = np.random.default_rng(17)
    first, second = rng.normal(size=(50, 1)), rng.normal(size=(60, 1))

    def widths(a, b):
        return abs(float(np.log(np.std(a) / np.std(b))))

    assert permutation_p_value(widths, first, 3 * second, rng, 199) == 1 / 200
    # where nothing differs every deal is a tie
    assert permutation_p_value(energy_distance, np.ones((5, 1)), np.ones((5, 1)), rng, 19) == 1.0
