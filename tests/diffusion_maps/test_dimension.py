import numpy as np
import pytest

from micromacro.diffusion_maps.dimension import kernel_sum_dimension, neighbour_dimension
from micromacro.errors import InputError


def sphere(dimension, count, seed=0):
    """Points on the unit sphere of that dimension, padded with directions that do not vary."""
    points = np.random.default_rng(seed).standard_normal((count, dimension + 1))
    return np.hstack([points / np.linalg.norm(points, axis=1, keepdims=True), np.zeros((count, 3))])


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_closed_manifolds_have_their_dimension(dimension):
    points = sphere(dimension, 2000)
    assert kernel_sum_dimension(points, 0.02) == pytest.approx(dimension, abs=0.1)
    assert neighbour_dimension(points) == pytest.approx(dimension, rel=0.06)


def test_kernel_sum_is_the_slope_of_its_logarithm():
    points = sphere(2, 300)
    squares = np.sum((points[:, None] - points) ** 2, axis=-1)

    def log_sum(log_bandwidth):
        return np.log(np.sum(np.exp(-squares / (4 * np.exp(log_bandwidth)))) - len(points))

    slope = (log_sum(np.log(0.03) + 1e-5) - log_sum(np.log(0.03) - 1e-5)) / 2e-5
    assert kernel_sum_dimension(points, 0.03) == pytest.approx(2 * slope, rel=1e-8)


def test_metric_that_sees_one_direction_has_one_dimension():
    points = np.random.default_rng(1).random((600, 2))
    metric = np.broadcast_to(np.diag([1.0, 1e-6]), (600, 2, 2)).copy()
    assert kernel_sum_dimension(points, 5e-4, metric) == pytest.approx(1, abs=0.1)
    assert kernel_sum_dimension(points, 5e-4) == pytest.approx(2, abs=0.15)


def test_bandwidth_of_the_size_of_the_cloud_has_none():
    assert kernel_sum_dimension(sphere(2, 300), 1e3) < 0.01


def test_points_that_coincide_count_once():
    points = sphere(2, 500)
    assert neighbour_dimension(np.vstack([points, points])) == pytest.approx(neighbour_dimension(points), rel=1e-12)


def test_wrong_arguments_are_told():
    with pytest.raises(InputError, match="bandwidth"):
        kernel_sum_dimension(sphere(1, 10), 0.0)
    with pytest.raises(InputError, match="neighbours"):
        neighbour_dimension(sphere(1, 10), 10)
