"""PLUMED input is read again by other code, of mdtraj and of this file, and compared with the windows it came from."""

import itertools
import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.geometry import (
    Angle,
    Distance,
    PositionFunction,
    RadiusOfGyration,
    RootMeanSquareDeviation,
    Torsion,
    stacked,
)
from micromacro.errors import InputError
from micromacro.molecules.colvar import read_colvar
from micromacro.molecules.plumed import (
    PlumedSettings,
    component_action,
    domain_constants,
    reference_pdb,
    write_window_inputs,
)
from micromacro.molecules.plumed_grid import BiasGrid, write_grid
from micromacro.sampling.table import fit_table, zero_table
from micromacro.sampling.windows import window_energy

KT = 2.494
ATOMS = 6
FOUR, OTHER = Torsion((0, 1, 2, 3)), Torsion((1, 2, 3, 5))
TURN = np.array([-np.pi]), np.array([np.pi])


@pytest.fixture(scope="module")
def positions():
    rng = np.random.default_rng(1)
    start = np.cumsum(rng.normal(scale=0.1, size=(ATOMS, 3)), axis=0)
    return start + rng.normal(scale=0.06, size=(200, ATOMS, 3))


def coarse_of(lower, upper, *components):
    periodic = tuple(bool(np.isfinite(part.period)) for part in components)
    return CoarseVariable(lambda u: u, np.asarray(lower, float), np.asarray(upper, float), periodic, components)


def words(line):
    """`LABEL: ACTION KEY=VALUE FLAG` as its parts."""
    label, rest = line.split(": ", 1)
    action, *settings = rest.split()
    return label, action, dict(setting.split("=") if "=" in setting else (setting, "") for setting in settings)


def trajectory(positions):
    topology = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain())
    for _ in range(positions.shape[1]):
        topology.add_atom("CA", mdtraj.element.carbon, residue)
    return mdtraj.Trajectory(positions, topology)


def quantity(action, settings, positions, folder):
    """What PLUMED's manual says of an action, by mdtraj, and whether it is periodic; float64 where that matters."""
    atoms = [int(atom) - 1 for atom in settings.get("ATOMS", "").split(",") if atom]
    if action == "TORSION":
        return mdtraj.compute_dihedrals(trajectory(positions), [atoms], periodic=False)[:, 0], True
    if action == "ANGLE":
        return mdtraj.compute_angles(trajectory(positions), [atoms], periodic=False)[:, 0], False
    if action == "DISTANCE":
        return mdtraj.compute_distances(trajectory(positions), [atoms], periodic=False)[:, 0], False
    if action == "GYRATION":
        # mdtraj takes masses, but measures from the centre without them
        weights = np.arange(1.0, ATOMS + 1)[atoms] if "MASS_WEIGHTED" in settings else np.ones(len(atoms))
        centre = np.average(positions[:, atoms], axis=1, weights=weights, keepdims=True)
        squares = np.sum((positions[:, atoms] - centre) ** 2, axis=2)
        return np.sqrt(np.average(squares, axis=1, weights=weights)), False
    reference = [line for line in (folder / settings["REFERENCE"]).read_text().splitlines() if line[:4] == "ATOM"]
    atoms = [int(line[6:11]) - 1 for line in reference]
    assert all((float(line[54:60]), float(line[60:66])) == (1, 1) for line in reference)
    still = np.array([[float(line[start : start + 8]) for start in (30, 38, 46)] for line in reference]) / 10
    return np.array([kabsch(frame[atoms], still) for frame in positions]), False


def kabsch(first, second):
    first, second = (part - part.mean(axis=0) for part in (first, second))
    u, _, vt = np.linalg.svd(first.T @ second)
    turn = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    return np.sqrt(np.mean(np.sum((first @ (u @ turn @ vt) - second) ** 2, axis=1)))


def interpolated(path, names, label, z):
    """The value of a grid as PLUMED interpolates it: products of cubic pieces, slopes as ratios of the value."""
    grid = read_colvar(path)
    assert grid.names == (*names, f"{label}.bias", *(f"der_{name}" for name in names))
    counts = [int(grid.constants[f"nbins_{name}"]) for name in names]
    wraps = [grid.constants[f"periodic_{name}"] == "true" for name in names]
    ends = np.array([grid.domain(name) for name in names])
    assert all(
        (grid.constants[f"min_{n}"], grid.constants[f"max_{n}"]) == ("-pi", "pi") for n in np.array(names)[wraps]
    )
    spacing = np.array([(e[1] - e[0]) / (n if w else n - 1) for e, n, w in zip(ends, counts, wraps, strict=True)])
    index = np.floor((grid.values[:, : len(names)] + spacing / 2 - ends[:, 0]) / spacing).astype(int)
    value, slope = np.full(counts, np.nan), np.full((*counts, len(names)), np.nan)
    value[tuple(index.T)] = grid.column(f"{label}.bias")
    slope[tuple(index.T)] = grid.values[:, -len(names) :]
    assert np.all(np.isfinite(value))
    first = np.floor((z - ends[:, 0]) / spacing).astype(int)
    total = np.zeros(len(z))
    for corner in itertools.product((0, 1), repeat=len(names)):
        at = tuple(np.where(wraps, (first + corner) % counts, first + corner).T)
        share = np.ones(len(z))
        for axis, far in enumerate(corner):
            x = np.abs((z[:, axis] - ends[axis, 0]) / spacing[axis] - first[:, axis] - far)
            ratio = np.where(np.abs(value[at]) < 1e-7, 0.0, -slope[at][:, axis] / value[at])
            share *= 1 - 3 * x**2 + 2 * x**3 - (-1 if far else 1) * ratio * (x - 2 * x**2 + x**3) * spacing[axis]
        total += value[at] * share
    return total


def bias_of(path, positions):
    """The bias in kJ/mol that a PLUMED input of ours describes, and the columns that it prints."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if ": " in line]
    columns, total = {}, np.zeros(len(positions))
    for label, action, settings in map(words, lines):
        if action in ("RESTRAINT", "EXTERNAL"):
            names = settings["ARG"].split(",")
            z = np.stack([columns[name][0] for name in names], axis=1)
        if action == "RESTRAINT":
            delta = z - [float(value) for value in settings["AT"].split(",")]
            turns = np.array([columns[name][1] for name in names])
            delta = np.where(turns, (delta + np.pi) % (2 * np.pi) - np.pi, delta)
            total += 0.5 * np.sum(delta**2 * [float(value) for value in settings["KAPPA"].split(",")], axis=1)
        elif action == "EXTERNAL":
            total += interpolated(path.parent / settings["FILE"], names, label, z)
        else:
            columns[label] = quantity(action, settings, positions, path.parent)
    return total


def ours(coarse, positions, center, stiffness, flattening):
    one = partial(window_energy, coarse, jnp.asarray(center), jnp.asarray(stiffness), flattening)
    whole = jax.jit(jax.vmap(lambda x: one(stacked(coarse.components, x))))
    return KT * np.asarray(whole(jnp.asarray(positions)))


def evaluate(table, z):
    return np.asarray(jax.jit(jax.vmap(table))(jnp.asarray(z)))


def table_of(coarse, cells, function):
    spacing = coarse.range / cells
    axes = [low + (np.arange(cells) + 0.5) * h for low, h in zip(coarse.lower, spacing, strict=True)]
    values = function(*np.meshgrid(*axes, indexing="ij"))
    return fit_table(values, np.array([axis[0] for axis in axes]), spacing, coarse.periodic)


@pytest.mark.parametrize(
    ("component", "lower", "upper"),
    [
        (FOUR, -np.pi, np.pi),
        (Torsion((5, 4, 1, 0)), 0.0, 2 * np.pi),
        (Distance((0, 4)), 0.1, 0.9),
        (Angle((2, 1, 5)), 0.3, 2.8),
        (RadiusOfGyration((0, 2, 3, 5)), 0.05, 0.4),
        (RadiusOfGyration((0, 2, 5), (1.0, 3.0, 6.0)), 0.05, 0.4),
    ],
)
def test_bias_of_each_kind_of_component(tmp_path, positions, component, lower, upper):
    # mdtraj has float32 positions: what it gives is compared where those are exact
    positions = positions.astype(np.float32).astype(float)
    coarse = coarse_of([lower], [upper], component)
    centers = np.linspace(lower, upper, 3)[:, None]
    settings = PlumedSettings(masses=tuple(np.arange(1.0, ATOMS + 1)))
    paths = write_window_inputs(tmp_path, coarse, centers, np.array([30.0]), KT, settings=settings)
    for path, center in zip(paths, centers, strict=True):
        expected = ours(coarse, positions, center, np.array([30.0]), zero_table(coarse, 10))
        assert bias_of(path, positions) == pytest.approx(expected, rel=3e-5, abs=3e-4)


def test_bias_of_a_deviation_from_a_reference(tmp_path, positions):
    reference = positions[0][[5, 0, 3, 2]] + [4.0, -7.0, 2.0]
    component = RootMeanSquareDeviation((5, 0, 3, 2), tuple(map(tuple, reference)))
    coarse = coarse_of([0.0], [0.3], component)
    settings = PlumedSettings(names=("away",))
    (path,) = write_window_inputs(tmp_path, coarse, np.array([[0.1]]), np.array([50.0]), KT, settings=settings)
    expected = ours(coarse, positions, [0.1], [50.0], zero_table(coarse, 10))
    assert bias_of(path, positions) == pytest.approx(expected, abs=1e-5)
    assert "RMSD REFERENCE=reference_away.pdb TYPE=OPTIMAL" in path.read_text(encoding="utf-8")


def test_flattening_of_one_component_is_the_table_itself(tmp_path, positions):
    coarse = coarse_of(*TURN, FOUR)
    table = table_of(coarse, 120, lambda z: 6 * np.cos(z) + 3 * np.sin(3 * z) - 4)
    paths = write_window_inputs(tmp_path, coarse, np.array([[2.8]]), np.array([20.0]), KT, table)
    z = np.asarray(jax.vmap(FOUR)(jnp.asarray(positions)))[:, None]
    written = interpolated(tmp_path / "flattening.grid", ["z1"], "flattening", z)
    difference = written + KT * evaluate(table, z)
    assert np.ptp(difference) < 1e-6
    assert written.max() < -1
    assert "flattening: EXTERNAL ARG=z1 FILE=flattening.grid\n" in paths[0].read_text(encoding="utf-8")
    assert (
        paths[0]
        .read_text(encoding="utf-8")
        .endswith("PRINT ARG=z1,restraint.bias,flattening.bias STRIDE=500 FILE=COLVAR_0 FMT=%.10g\n")
    )


def test_flattening_beyond_the_range_goes_on_as_the_table_does(tmp_path):
    coarse = coarse_of([0.2], [0.8], Distance((0, 1)))
    table = table_of(coarse, 120, lambda z: 80 * (z - 0.4) ** 2)
    write_window_inputs(tmp_path, coarse, np.array([[0.5]]), np.array([500.0]), KT, table)
    z = np.linspace(-0.09, 1.09, 301)[:, None]
    difference = interpolated(tmp_path / "flattening.grid", ["z1"], "flattening", z) + KT * evaluate(table, z)
    assert np.ptp(difference) < 1e-6


def test_windows_of_two_torsions_over_a_flattened_surface(tmp_path, positions):
    positions = positions.astype(np.float32).astype(float)
    coarse = coarse_of([-np.pi] * 2, [np.pi] * 2, FOUR, OTHER)
    table = table_of(coarse, 40, lambda a, b: 5 * np.cos(a) * np.sin(b) + 3 * np.cos(2 * a - b))
    settings = PlumedSettings(names=("phi", "psi"), whole=tuple(range(ATOMS)), interval=10)
    center, stiffness = np.array([-3.0, 0.5]), np.array([12.0, 8.0])
    (path,) = write_window_inputs(tmp_path, coarse, center[None], stiffness, KT, table, settings)
    expected = ours(coarse, positions, center, stiffness, table)
    # PLUMED interpolates without mixed derivatives: the error of its grid, not of what is written
    assert np.ptp(bias_of(path, positions) - expected) < 0.002
    text = path.read_text(encoding="utf-8")
    assert "WHOLEMOLECULES ENTITY0=1,2,3,4,5,6\n" in text
    assert "phi: TORSION ATOMS=1,2,3,4 NOPBC\npsi: TORSION ATOMS=2,3,4,6 NOPBC\n" in text
    assert re.search(r"RESTRAINT ARG=phi,psi AT=-3\.0,0\.5 KAPPA=29\.9\d*,19\.9\d*\n", text)


def test_one_file_for_each_window(tmp_path):
    coarse = coarse_of(*TURN, FOUR)
    paths = write_window_inputs(tmp_path / "new", coarse, np.zeros((3, 1)), np.array([5.0]), KT)
    assert [path.name for path in paths] == ["window_0.dat", "window_1.dat", "window_2.dat"]
    assert "FILE=COLVAR_2" in paths[2].read_text(encoding="utf-8")
    assert not (tmp_path / "new" / "flattening.grid").exists()


def test_reference_keeps_the_digits_that_fit():
    component = RootMeanSquareDeviation((0, 1, 7), ((0.0, 0.0, 0.0), (1 / 3, 1.0, -2 / 3), (-1 / 3, -1.0, 2 / 3)))
    line = reference_pdb(component).splitlines()[2]
    assert line == "ATOM      8  X   REF A   1    -3.33333-10.00006.666667  1.00  1.00"


def test_domains_of_periodic_columns():
    assert domain_constants([FOUR, Distance((0, 1))], ["phi", "d"]) == {"min_phi": "-pi", "max_phi": "pi"}


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (PositionFunction(lambda x: x[0, 0]), "got a function of positions. Write its action by hand"),
        (RadiusOfGyration((0, 1), (1.0, 5.0)), "masses must be all equal or those of the atoms"),
    ],
)
def test_what_plumed_has_no_action_for(component, message):
    with pytest.raises(InputError, match=message):
        component_action(component, masses=(12.0, 1.0))


def test_what_does_not_fit_together(tmp_path):
    write = partial(write_window_inputs, tmp_path, centers=np.zeros((1, 1)), stiffness=np.ones(1), kT=KT)
    whole = coarse_of(*TURN, FOUR)
    with pytest.raises(InputError, match=r"coarse\.periodic must be true for z1"):
        write(replace(whole, periodic=(False,)))
    with pytest.raises(InputError, match="be made of torsions, distances or other"):
        write(replace(whole, components=()))
    with pytest.raises(InputError, match="names must be 1 different words"):
        write(whole, settings=PlumedSettings(names=("phi", "psi")))
    with pytest.raises(InputError, match="finite on the whole grid"):
        write(whole, flattening=lambda z: jnp.log(z[0]))
    grid = BiasGrid((np.linspace(0, 1, 5),), np.zeros(5), np.zeros((5, 1)), (True,))
    with pytest.raises(InputError, match="begin at -π"):
        write_grid(tmp_path / "grid", grid, ["z1"], "label")
