"""A bandwidth at which a coordinate is smooth: what points see, groups that are tied, and the scale of the features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.diffusion_maps.bandwidth import kernel_scaling
from micromacro.diffusion_maps.kernel import squared_distances
from micromacro.diffusion_maps.spread import LOOSEST
from micromacro.errors import InputError
from micromacro.learners.diffusion_map import DiffusionMapLearner
from micromacro.learners.learner import TrainingData
from micromacro.learners.metrics import rank_correlation
from micromacro.learners.smooth_bandwidth import SEEN, smooth_bandwidth, without_strays


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def squares_of(points: np.ndarray) -> np.ndarray:
    squares = squared_distances(points)
    np.fill_diagonal(squares, 0.0)
    return squares


def seen(squares: np.ndarray, bandwidth: float) -> float:
    """How many points half of them see."""
    kernel = np.exp(-squares / (4 * bandwidth))
    return float(np.median(kernel.sum(axis=1) ** 2 / (kernel**2).sum(axis=1)))


@pytest.mark.parametrize("dimension", [1, 2, 10, 20])
def test_half_of_the_points_see_their_share(dimension):
    squares = squares_of(points := np.random.default_rng(0).normal(size=(600, dimension)))
    found = smooth_bandwidth(points, rng())
    assert seen(squares, found) >= 0.99 * SEEN * len(points)
    assert found >= (1 - 1e-6) * kernel_scaling(squares).bandwidth


@pytest.fixture
def valleys() -> np.ndarray:
    """Two short rows in 20 dimensions, thin across."""
    shape = np.array([1.0, *[0.1] * 19])
    return np.random.default_rng(0).normal(size=(900, 20)) * shape + np.outer(np.repeat([-2.0, 2.0], 450), shape == 1)


def test_it_is_wider_than_that_of_greatest_slope_where_points_see_few(valleys):
    squares = squares_of(valleys)
    steepest = kernel_scaling(squares).bandwidth
    found = smooth_bandwidth(valleys, rng())
    assert seen(squares, steepest) < SEEN * len(valleys)
    assert found > 1.1 * steepest
    assert seen(squares, found) >= 0.99 * SEEN * len(valleys)


@pytest.mark.parametrize("distance", [10.0, 40.0])
def test_groups_far_apart_are_tied(distance):
    points = np.random.default_rng(0).normal(size=(400, 3)) * 0.5
    points[200:, 0] += distance
    squares = squares_of(points)
    found = smooth_bandwidth(points, rng())
    nearest = np.exp(-squares[:200, 200:] / (4 * found)).max()
    assert nearest >= 0.999 * np.exp(-LOOSEST)
    alone = np.exp(-squares[:200, 200:] / (4 * kernel_scaling(squares[:200, :200]).bandwidth)).max()
    assert alone < 1e-6


@pytest.mark.parametrize("factor", [1e-3, 50.0])
def test_it_scales_as_the_square_of_the_features(factor):
    points = np.random.default_rng(0).normal(size=(300, 10))
    np.testing.assert_allclose(
        smooth_bandwidth(factor * points + 7.0, rng()), factor**2 * smooth_bandwidth(points, rng()), rtol=1e-2
    )


def test_equal_points_have_none():
    with pytest.raises(InputError):
        smooth_bandwidth(np.ones((50, 2)), rng())


def test_points_apart_are_strays_and_no_others():
    rng = np.random.default_rng(4)
    square = rng.uniform(size=(600, 2))
    points = np.concatenate([square, [[3.0, 3.0], [-2.0, 0.5]]])
    bandwidth = smooth_bandwidth(points, rng)
    np.testing.assert_array_equal(without_strays(points, bandwidth, rng), np.arange(600))


def test_a_stray_does_not_become_the_slowest_mode():
    rng = np.random.default_rng(5)
    strip = rng.uniform(size=(800, 2)) * [4.0, 0.5]
    points = np.concatenate([strip, [[2.0, 3.0]]])
    found = DiffusionMapLearner(surrogate=False).fit(TrainingData(points, np.ones(801)), jax.random.key(0))
    values = np.asarray(jax.vmap(found)(jnp.asarray(strip)))[:, 0]
    assert abs(rank_correlation(values, strip[:, 0])) > 0.99
