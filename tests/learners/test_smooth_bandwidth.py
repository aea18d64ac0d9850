"""A bandwidth at which a coordinate can be biased along: points see enough others, and no group is out of reach."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from micromacro.diffusion_maps.bandwidth import kernel_scaling
from micromacro.errors import InputError
from micromacro.learners.smooth_bandwidth import SEEN, smooth_bandwidth


def seen(squares: np.ndarray, bandwidth: float) -> float:
    """How many others half of the points see, as a share of all."""
    kernel = np.exp(-squares / (4 * bandwidth))
    return float(np.median(kernel.sum(axis=1) ** 2 / (kernel**2).sum(axis=1)) / len(squares))


@pytest.mark.parametrize("size", [2, 10])
def test_points_of_many_dimensions_see_enough_others(size):
    rng = np.random.default_rng(size)
    points = rng.normal(size=(1500, size))
    squares = squareform(pdist(points, "sqeuclidean"))
    found, steepest = smooth_bandwidth(points, rng), kernel_scaling(squares).bandwidth
    assert seen(squares, found) > 0.99 * SEEN
    assert found >= steepest * (1 - 1e-9)
    assert (seen(squares, steepest) < 0.8 * SEEN) == (size == 10)


def test_groups_far_apart_are_tied():
    rng = np.random.default_rng(0)
    well = rng.normal(scale=0.05, size=(300, 1))
    points = np.concatenate([well, well + 4])
    gap = points[300:].min() - points[:300].max()
    assert smooth_bandwidth(points, rng) == pytest.approx(gap**2 / 20)
    assert smooth_bandwidth(well, rng) < gap**2 / 2000


def test_equal_points_are_refused():
    with pytest.raises(InputError, match="differ"):
        smooth_bandwidth(np.ones((20, 2)), np.random.default_rng(0))
