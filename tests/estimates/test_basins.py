"""Basins: how many, where they end, in what order, and which minima are too shallow to count."""

import numpy as np
import pytest

from micromacro.estimates.basins import find_basins
from micromacro.estimates.surface import Grid


def uniform(lower, upper, shape, periodic):
    lower, upper = np.array(lower, float), np.array(upper, float)
    spacing = (upper - lower) / np.array(shape)
    axes = [low + s * (np.arange(n) + 0.5) for low, s, n in zip(lower, spacing, shape, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape))
    return Grid(points, points[0], spacing, tuple(shape), tuple(periodic))


@pytest.fixture(scope="module")
def line():
    grid = uniform([-2.0], [2.0], (200,), (False,))
    return grid, grid.points[:, 0]


def test_two_wells_divided_at_the_barrier_the_lower_first(line):
    grid, z = line
    free_energy = 5 * (z**2 - 1) ** 2 - z
    label = find_basins(free_energy - free_energy.min(), grid)
    barrier = z[np.abs(z) < 0.5][np.argmax(free_energy[np.abs(z) < 0.5])]
    low = free_energy - free_energy.min() <= 15
    np.testing.assert_array_equal(label[low & (z > barrier + 0.02)], 0)
    np.testing.assert_array_equal(label[low & (z < barrier - 0.02)], 1)
    np.testing.assert_array_equal(label[~low], -1)
    assert (~low).any()


@pytest.mark.parametrize(("persistence", "basins"), [(0.5, 2), (2.5, 2), (3.5, 1)])
def test_persistence_is_the_barrier_over_the_shallower_minimum(line, persistence, basins):
    grid, z = line
    # minima 0 and 1 (at the right), barrier 4: the right well is 3 deep
    shape = np.interp(z, [-2, -1, 0, 1, 2], [10, 0, 4, 1, 10])
    label = find_basins(shape, grid, persistence)
    assert set(label) == set(range(basins))
    assert label[np.argmin(np.abs(z - 1))] == basins - 1


def test_noise_of_half_the_thermal_energy_makes_no_basins(line):
    grid, z = line
    rng = np.random.default_rng(0)
    free_energy = 5 * (z**2 - 1) ** 2 - z + rng.uniform(-0.25, 0.25, len(z))
    label = find_basins(free_energy - free_energy.min(), grid)
    assert set(label) == {-1, 0, 1}
    assert len(set(find_basins(free_energy - free_energy.min(), grid, persistence=0.0))) > 10


def test_three_wells_merge_in_the_order_of_their_depth(line):
    grid, z = line
    shape = np.interp(z, [-2, -1.5, -0.75, 0, 0.75, 1.5, 2], [12, 1, 3, 2, 5, 0, 12])
    for persistence, expected in ((0.5, [1, 2, 0]), (1.5, [1, 1, 0]), (4.5, [0, 0, 0])):
        label = find_basins(shape, grid, persistence)
        assert [label[np.argmin(np.abs(z - at))] for at in (-1.5, 0, 1.5)] == expected


def test_a_basin_goes_round_the_seam_of_a_period():
    for periodic, expected in ((True, 2), (False, 3)):
        grid = uniform([-np.pi], [np.pi], (120,), (periodic,))
        z = grid.points[:, 0]
        label = find_basins(4 * (1 - np.cos(2 * z)), grid)
        assert len(set(label)) == expected
        assert bool(label[0] == label[-1]) is periodic


def test_two_dimensions_with_a_winding_barrier():
    grid = uniform([-2.0, -np.pi], [2.0, np.pi], (50, 48), (False, True))
    x, angle = grid.points.T
    free_energy = 4 * (x**2 - 1) ** 2 + 3 * (1 + np.cos(angle - x)) + 0.5 * x
    label = find_basins(free_energy - free_energy.min(), grid)
    assert set(label) == {-1, 0, 1}
    low = free_energy - free_energy.min() < 3
    np.testing.assert_array_equal(label[low], np.where(x[low] < 0, 0, 1))
    # the minima lie on either side of the seam at x = ±1: angle = π + x
    assert {int(np.sign(a)) for a in angle[low & (x < 0)]} == {-1, 1}


def test_diagonal_cells_are_no_neighbours():
    grid = uniform([0.0, 0.0], [2.0, 2.0], (2, 2), (False, False))
    np.testing.assert_array_equal(find_basins(np.array([0.0, 20.0, 20.0, 1.0]), grid), [0, -1, -1, 1])


def test_unknown_cells_belong_to_nobody_and_part_basins(line):
    grid, z = line
    free_energy = np.where(np.abs(z) < 0.1, np.nan, z**2)
    label = find_basins(free_energy, grid)
    np.testing.assert_array_equal(label[np.isnan(free_energy)], -1)
    assert label[np.argmin(np.abs(z - 1))] != label[np.argmin(np.abs(z + 1))]
    np.testing.assert_array_equal(find_basins(np.full(200, np.nan), grid), -1)


def test_the_ceiling_bounds_a_basin(line):
    grid, z = line
    label = find_basins(z**2, grid, ceiling=1.0)
    np.testing.assert_array_equal(label, np.where(z**2 <= 1, 0, -1))
