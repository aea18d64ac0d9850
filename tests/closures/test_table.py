"""The table of the closure and its file."""

import numpy as np
import pytest

from micromacro.closures.grid import grid_of_points, largest_region, uniform_grid
from micromacro.closures.table import closure_table
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError

PLANE = CoarseVariable(lambda q: q[:2], np.array([0.0, 0.0]), np.array([2.0, 1.0]), (False, True))


def example(d=2):
    rng = np.random.default_rng(0)
    coarse = CoarseVariable(lambda q: q[:d], np.zeros(d), np.ones(d), (False,) * d)
    z = rng.uniform(0, 1, (20_000, d))
    drift, diffusion = -z, np.broadcast_to(np.eye(d), (20_000, d, d)) + 0.1 * z[:, :1, None]
    observables = {"second": z[:, 0] ** 2}
    weights, cluster = np.ones(20_000), np.arange(20_000) % 20
    return closure_table(coarse, uniform_grid(coarse, (6,) * d), z, drift, diffusion, observables, weights, cluster)


def test_averages_land_in_their_columns():
    table = example()
    np.testing.assert_allclose(table.drift, -table.z, atol=1e-9)
    np.testing.assert_allclose(table.diffusion[:, 0, 1], 0.1 * table.z[:, 0], atol=1e-9)
    np.testing.assert_allclose(table.diffusion[:, 1, 1], 1 + 0.1 * table.z[:, 0], atol=1e-9)
    bias = (1 / 6) ** 2 / 5  # h² g''/10
    np.testing.assert_allclose(table.observables["second"], table.z[:, 0] ** 2, atol=1.5 * bias)


def test_grid_is_recognised_and_other_points_are_refused():
    grid = uniform_grid(PLANE, (5, 4))
    assert grid_of_points(PLANE, grid.points).shape == (5, 4)
    with pytest.raises(InputError, match="centres"):
        grid_of_points(PLANE, grid.points[::-1])
    with pytest.raises(InputError, match="centres"):
        grid_of_points(PLANE, grid.points[:-1])


def test_largest_region_goes_round_the_period_only():
    grid = uniform_grid(PLANE, (5, 6))
    allowed = np.zeros((5, 6), bool)
    allowed[1, [0, 1, 5]] = True  # joined round the period
    allowed[[0, 4], 3] = True  # not joined: the first dimension ends
    region = largest_region(grid, allowed.ravel()).reshape(5, 6)
    assert region[1, [0, 1, 5]].all()
    assert region.sum() == 3
