"""The table of the closure and its file."""

import numpy as np
import pytest

from micromacro.closures.grid import grid_of_points, largest_region, uniform_grid
from micromacro.closures.table import ClosureTable, closure_table
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


def test_columns_of_the_file(tmp_path):
    example().to_csv(tmp_path / "closure.csv")
    header = (tmp_path / "closure.csv").read_text().splitlines()[0]
    assert header == (
        "z1,z2,drift1,drift1_stderr,drift2,drift2_stderr,diffusion11,diffusion11_stderr,diffusion12,diffusion12_stderr,"
        "diffusion21,diffusion21_stderr,diffusion22,diffusion22_stderr,second,second_stderr"
    )


@pytest.mark.parametrize("d", [1, 2])
def test_file_round_trip_with_unknown_cells(tmp_path, d):
    table = example(d)
    table.drift[3] = np.nan
    table.observables_stderr["second"][0] = np.nan
    table.to_csv(tmp_path / "closure.csv")
    assert "nan" not in (tmp_path / "closure.csv").read_text()
    back = ClosureTable.from_csv(tmp_path / "closure.csv")
    for name in ("z", "drift", "drift_stderr", "diffusion", "diffusion_stderr"):
        np.testing.assert_array_equal(getattr(back, name), getattr(table, name))
    np.testing.assert_array_equal(back.observables["second"], table.observables["second"])
    np.testing.assert_array_equal(back.observables_stderr["second"], table.observables_stderr["second"])
    assert not back.finite[3]


def test_observables_may_not_take_the_name_of_a_column(tmp_path):
    table = example(1)
    clash = ClosureTable(
        table.z, table.drift, table.drift_stderr, table.diffusion, table.diffusion_stderr, {"drift1": table.z[:, 0]}
    )
    with pytest.raises(InputError, match="drift1"):
        clash.to_csv(tmp_path / "closure.csv")


def test_missing_column_is_named(tmp_path):
    path = tmp_path / "closure.csv"
    path.write_text("z1,drift1\n0.5,1.0\n")
    with pytest.raises(InputError, match="drift1_stderr"):
        ClosureTable.from_csv(path)


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
