import numpy as np
import pytest

from micromacro.diffusion_maps.diffusion_map import DiffusionMapSettings, fit_diffusion_map
from micromacro.diffusion_maps.independent import IndependenceSettings, independent_coordinates
from micromacro.errors import InputError


def strip_modes(points, count):
    """Exact eigenfunctions of a strip, slowest first, with the numbers of their half-waves."""
    length = points.max(axis=0)
    numbers = [(a, b) for a in range(12) for b in range(4) if a + b]
    numbers.sort(key=lambda pair: (pair[0] / length[0]) ** 2 + (pair[1] / length[1]) ** 2)
    waves = np.cos(np.pi * points[:, :, None] * np.arange(12) / length[:, None])
    return np.stack([waves[:, 0, a] * waves[:, 1, b] for a, b in numbers[:count]], axis=1), numbers[:count]


def test_exact_modes_of_a_strip_leave_its_two_sides():
    points = np.random.default_rng(0).random((1000, 2)) * [3.6, 1]
    modes, numbers = strip_modes(points, 10)
    found = independent_coordinates(modes)
    assert [numbers[index] for index in found.chosen] == [(1, 0), (0, 1)]
    assert np.delete(found.residuals, found.chosen).max() < 0.4
    assert found.residuals[found.chosen].min() > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_map_of_a_strip_of_four_to_one_takes_both_sides(seed):
    points = np.random.default_rng(seed).random((700, 2)) * [4, 1]
    found = fit_diffusion_map(points, None, DiffusionMapSettings(7, 0.5, 0.012))
    chosen = independent_coordinates(found.eigenvectors, found.stationary).chosen
    short = np.abs(np.corrcoef(found.eigenvectors.T, np.cos(np.pi * points[:, 1]))[-1, :-1])
    assert chosen[0] == 0
    assert chosen[1] in (3, 4)  # of one rate with the fourth harmonic of the long side
    assert short[chosen[1]] > 0.5
    assert short[:3].max() < 0.2


def test_interval_has_one_coordinate_and_circle_two():
    angle = 2 * np.pi * np.random.default_rng(1).random(600)
    harmonics = np.cos(np.outer(angle / 2, np.arange(1, 8)))
    np.testing.assert_array_equal(independent_coordinates(harmonics).chosen, [0])
    pairs = np.stack([wave(k * angle) for k in (1, 2, 3) for wave in (np.cos, np.sin)], axis=1)
    np.testing.assert_array_equal(independent_coordinates(pairs).chosen, [0, 1])


def test_noise_is_independent_and_its_residual_about_one():
    vectors = np.random.default_rng(2).standard_normal((800, 3))
    found = independent_coordinates(vectors)
    np.testing.assert_array_equal(found.chosen, [0, 1, 2])
    assert np.all(found.residuals[1:] > 0.95)


def test_points_without_weight_do_not_count():
    rng = np.random.default_rng(3)
    x = rng.random(600)
    vectors = np.stack([np.cos(np.pi * x), np.cos(2 * np.pi * x)], axis=1)
    weight = np.ones(600)
    weight[:50] = 1e-12
    spoilt = vectors.copy()
    spoilt[:50, 1] = rng.standard_normal(50)
    assert independent_coordinates(spoilt, weight).residuals[1] < 0.1
    assert independent_coordinates(spoilt).residuals[1] > 0.2


def test_many_points_are_drawn_from_and_give_the_same_choice():
    points = np.random.default_rng(4).random((20_000, 2)) * [3.6, 1]
    modes, _ = strip_modes(points, 6)
    few = independent_coordinates(modes, None, IndependenceSettings(points=500))
    more = independent_coordinates(modes)
    np.testing.assert_array_equal(few.chosen, more.chosen)
    np.testing.assert_allclose(few.residuals, more.residuals, atol=0.15)


def test_settings_out_of_range_are_told():
    for wrong in ({"threshold": 1.0}, {"width": 0.0}, {"neighbours": 0}, {"points": 5}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            IndependenceSettings(**wrong)
