"""The file of closures: columns by route, empty cells, names that clash."""

from dataclasses import replace

import numpy as np
import pytest

from micromacro.closures.files import read_closures, write_closures
from micromacro.closures.grid import uniform_grid
from micromacro.closures.table import ClosureTable
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError


def example(d: int, seed: int = 0) -> ClosureTable:
    rng = np.random.default_rng(seed)
    coarse = CoarseVariable(lambda q: q[:d], np.zeros(d), np.ones(d), (False,) * d)
    z = uniform_grid(coarse, (6,) * d).points
    n = len(z)
    arrays = (rng.normal(size=shape) for shape in ((n, d), (n, d), (n, d, d), (n, d, d)))
    return ClosureTable(z, *arrays, {"second": rng.normal(size=n)}, {"second": np.ones(n)})


def same(first: ClosureTable, second: ClosureTable) -> None:
    for name in ("z", "drift", "drift_stderr", "diffusion", "diffusion_stderr"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.observables.keys() == second.observables.keys()
    for name in first.observables:
        np.testing.assert_array_equal(first.observables[name], second.observables[name])
        np.testing.assert_array_equal(first.observables_stderr[name], second.observables_stderr[name])


def test_columns_of_the_projected_closure_are_plain(tmp_path):
    write_closures(tmp_path / "closure.csv", {"projected": example(2)})
    header = (tmp_path / "closure.csv").read_text().splitlines()[0]
    assert header == (
        "z1,z2,drift1,drift1_stderr,drift2,drift2_stderr,diffusion11,diffusion11_stderr,diffusion12,diffusion12_stderr,"
        "diffusion21,diffusion21_stderr,diffusion22,diffusion22_stderr,second,second_stderr"
    )


@pytest.mark.parametrize("d", [1, 2])
def test_round_trip_of_all_routes_with_unknown_cells(tmp_path, d):
    tables = {
        "projected": example(d),
        **{route: replace(example(d, 1), observables={}) for route in ("bursts", "learned")},
    }
    tables["projected"].drift[3] = np.nan
    tables["bursts"].diffusion[2] = np.nan
    write_closures(tmp_path / "closure.csv", tables)
    assert "nan" not in (tmp_path / "closure.csv").read_text()
    back = read_closures(tmp_path / "closure.csv")
    assert list(back) == list(tables)
    for route, table in tables.items():
        same(back[route], table)
    assert not back["projected"].finite[3]
    assert not back["bursts"].finite[2]


@pytest.mark.parametrize("name", ["drift1", "z1", "bursts_drift1"])
def test_observables_may_not_take_the_name_of_a_column(tmp_path, name):
    table = example(1)
    clash = replace(table, observables={name: table.z[:, 0]}, observables_stderr={name: table.z[:, 0]})
    with pytest.raises(InputError, match=name):
        write_closures(tmp_path / "closure.csv", {"projected": clash, "bursts": example(1)})


def test_missing_column_is_named(tmp_path):
    path = tmp_path / "closure.csv"
    path.write_text("z1,drift1\n0.5,1.0\n")
    with pytest.raises(InputError, match="drift1_stderr"):
        read_closures(path)
