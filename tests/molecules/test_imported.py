from itertools import pairwise
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from micromacro.errors import InputError
from micromacro.molecules import trajectories
from micromacro.molecules.colvar import write_colvar
from micromacro.molecules.data_files import OwnData, Umbrella
from micromacro.molecules.imported import read_own_data

KT = 2.5
FRAMES = 12
BOX = 3.0
FILE, UMBRELLA = Path("file"), Umbrella((0.0,), (1.0,))


def molecule():
    topology = mdtraj.Topology()
    residue = topology.add_residue("UNK", topology.add_chain())
    atoms = [topology.add_atom(name, mdtraj.element.carbon, residue) for name in ("C1", "C2", "C3", "C4")]
    for first, second in pairwise(atoms):
        topology.add_bond(first, second)
    return topology


def whole_positions(frames=FRAMES, seed=0):
    rng = np.random.default_rng(seed)
    chain = np.arange(4)[None, :, None] * [0.15, 0.0, 0.0]
    return rng.uniform(0, BOX, size=(frames, 1, 3)) + chain + rng.normal(scale=0.01, size=(frames, 4, 3))


@pytest.fixture
def write(tmp_path):
    """Writes a trajectory with times, and a topology of its bonds; returns the paths."""

    def write_files(positions, name="run.xtc", *, time=None, box=False):
        path, topology = tmp_path / name, tmp_path / "top.pdb"
        time = 2.0 * np.arange(len(positions)) if time is None else time
        cell = {
            "unitcell_lengths": np.full((len(positions), 3), BOX),
            "unitcell_angles": np.full(positions.shape[::2], 90.0),
        }
        trajectory = mdtraj.Trajectory(positions, molecule(), time=time, **(cell if box else {}))
        trajectory.save(str(path))
        trajectory[0].save_pdb(str(topology), bfactors=None)
        return topology, path

    return write_files


def colvar_of(tmp_path, times, columns, name="COLVAR"):
    write_colvar(tmp_path / name, ["time", *columns], np.stack([times, *columns.values()], axis=1))
    return tmp_path / name


@pytest.mark.filterwarnings("ignore:.*netCDF4")
@pytest.mark.parametrize(
    ("name", "rounded", "error"),
    [("run.xtc", True, 6e-4), ("run.dcd", False, 1e-6), ("run.nc", False, 1e-6), ("run.trr", False, 1e-6)],
)
def test_unbiased_frames_of_several_files(write, name, rounded, error):
    first, second = whole_positions(), whole_positions(7, seed=1)
    topology, one = write(first, name)
    _, two = write(second, "second_" + name)
    found = read_own_data(OwnData(topology, (one, two)), KT)
    assert found.positions == pytest.approx(np.concatenate([first, second]), abs=error)
    assert np.array_equal(found.trajectory, [0] * FRAMES + [1] * 7)
    assert np.array_equal(found.log_weight, np.zeros(FRAMES + 7))
    assert found.rounded == rounded
    assert found.topology.n_atoms == 4
    assert found.sources == (str(one), str(two))


@pytest.mark.parametrize("chunk", [1, 3, 500])
def test_stride_and_discard_do_not_depend_on_the_pieces(write, monkeypatch, chunk):
    monkeypatch.setattr(trajectories, "CHUNK", chunk)
    positions = whole_positions()
    topology, path = write(positions, "run.dcd")
    found = read_own_data(OwnData(topology, (path,), discard=2, stride=4), KT)
    assert found.positions == pytest.approx(positions[[2, 6, 10]], abs=1e-6)


def test_molecules_are_made_whole(write):
    positions = whole_positions()
    topology, path = write(positions % BOX, box=True)
    found = read_own_data(OwnData(topology, (path,)), KT).positions
    assert np.linalg.norm(np.diff(found, axis=1), axis=2).max() < 0.25
    apart = (found - positions)[:, :1]
    assert found - positions - apart == pytest.approx(0, abs=1.5e-3)
    assert apart / BOX == pytest.approx(np.round(apart / BOX), abs=1e-3)
    assert np.linalg.norm(np.diff(positions % BOX, axis=1), axis=2).max() > 1


def test_a_selection_of_atoms(write):
    positions = whole_positions()
    topology, path = write(positions, "run.dcd")
    found = read_own_data(OwnData(topology, (path,), selection="name C2 or name C4"), KT)
    assert found.positions == pytest.approx(positions[:, [1, 3]], abs=1e-6)
    assert [atom.name for atom in found.topology.atoms] == ["C2", "C4"]


def test_weights_of_a_bias_by_time(write, tmp_path):
    """Rows twice as dense as frames, and beginning before them; the trajectory keeps times as float32."""
    topology, path = write(whole_positions(), time=5.0 + 0.2 * np.arange(FRAMES))
    times = 0.1 * np.arange(100)
    bias = {"phi": np.sin(times), "metad.bias": times, "wall.bias": times**2, "metad.rbias": times - 3}
    colvar = colvar_of(tmp_path, times, bias)
    data = OwnData(topology, (path,), (colvar,), coarse=("phi",), stride=2)
    at = 5.0 + 0.4 * np.arange(FRAMES // 2)
    found = read_own_data(data, KT)
    expected = (at - 3 + at**2) / KT
    assert found.log_weight == pytest.approx(expected - expected.max())
    assert found.bias == pytest.approx(at - 3 + at**2)
    assert found.coarse == pytest.approx(np.sin(at)[:, None])
    chosen = read_own_data(OwnData(topology, (path,), (colvar,), bias=("metad.bias",), stride=2), KT)
    assert chosen.log_weight == pytest.approx((at - at.max()) / KT)


def test_rows_by_number_and_by_times_that_are_given(write, tmp_path):
    topology, path = write(whole_positions(), "run.dcd")
    values = np.arange(float(FRAMES)) ** 2
    colvar = colvar_of(tmp_path, np.arange(float(FRAMES)), {"restraint.bias": values})
    by_number = read_own_data(OwnData(topology, (path,), (colvar,), discard=1, stride=3), KT)
    assert by_number.bias == pytest.approx(values[1::3])
    dense = colvar_of(tmp_path, 0.5 * np.arange(40), {"restraint.bias": np.arange(40.0)}, "dense")
    by_time = read_own_data(OwnData(topology, (path,), (dense,), times=(1.0, 1.5), stride=5), KT)
    assert by_time.bias == pytest.approx([2.0, 17.0, 32.0])


@pytest.mark.parametrize("one_file", [True, False])
@pytest.mark.parametrize("logarithm", [True, False])
def test_weights_of_files(write, tmp_path, one_file, logarithm):
    topology, one = write(whole_positions(), "one.dcd")
    _, two = write(whole_positions(5, seed=1), "two.dcd")
    weights = np.random.default_rng(2).exponential(size=FRAMES + 5)
    parts = [weights] if one_file else [weights[:FRAMES], weights[FRAMES:]]
    paths = []
    for number, part in enumerate(parts):
        paths.append(tmp_path / f"weights{number}.{'npy' if number else 'txt'}")
        part = np.log(part) if logarithm else part
        np.save(paths[-1], part) if number else np.savetxt(paths[-1], part)
    key = "log_weights" if logarithm else "weights"
    found = read_own_data(OwnData(topology, (one, two), stride=2, **{key: tuple(paths)}), KT)
    kept = np.concatenate([weights[:FRAMES:2], weights[FRAMES::2]])
    assert np.exp(found.log_weight) == pytest.approx(kept / kept.max(), rel=1e-12)


def test_windows_are_kept_for_mbar(write, tmp_path):
    topology, one = write(whole_positions(), "one.dcd")
    _, two = write(whole_positions(5, seed=1), "two.dcd")
    windows = (Umbrella((0.5,), (100.0,)), Umbrella((0.7,), (100.0,)))
    colvars = tuple(
        colvar_of(tmp_path, np.arange(float(n)), {"restraint.bias": np.full(n, 2.0)}, f"COLVAR{n}") for n in (FRAMES, 5)
    )
    found = read_own_data(OwnData(topology, (one, two), colvars, windows=windows), KT)
    assert found.windows == windows
    assert np.array_equal(found.log_weight, np.zeros(FRAMES + 5))
    assert np.array_equal(found.bias, np.full(FRAMES + 5, 2.0))


def message_of(data):
    with pytest.raises(InputError) as error:
        read_own_data(data, KT)
    return str(error.value)


def test_rows_that_do_not_fit_the_frames(write, tmp_path):
    topology, timed = write(whole_positions())
    short = colvar_of(tmp_path, 2.0 * np.arange(10), {"b.bias": np.zeros(10)})
    message = message_of(OwnData(topology, (timed,), (short,)))
    assert "have a row for each frame of" in message
    assert "none at 20 ps, frame 10 (2 such frames); rows: 0 to 18 ps every 2" in message
    shifted = colvar_of(tmp_path, 1 + 2.0 * np.arange(FRAMES), {"b.bias": np.zeros(FRAMES)}, "SHIFTED")
    assert "none at 0 ps, frame 0 (12 such frames)" in message_of(OwnData(topology, (timed,), (shifted,)))
    _, untimed = write(whole_positions(), "run.dcd")
    message = message_of(OwnData(topology, (untimed,), (short,)))
    assert "have a row for each of the 12 frames" in message
    assert "got 10 rows. Give data.times" in message
    _, again = write(whole_positions(), "again.xtc", time=np.arange(FRAMES) % 7)
    assert "times that increase from frame to frame" in message_of(OwnData(topology, (again,), (short,)))


def test_columns_and_weights_that_are_not_there(write, tmp_path):
    topology, path = write(whole_positions(), "run.dcd")
    colvar = colvar_of(tmp_path, np.arange(float(FRAMES)), {"phi": np.zeros(FRAMES)})
    message = message_of(OwnData(topology, (path,), (colvar,)))
    assert "data.bias must name columns of the bias among time, phi; got none that ends in .bias" in message
    assert "be one of time, phi; got 'x.bias'" in message_of(OwnData(topology, (path,), (colvar,), bias=("x.bias",)))
    assert "be one of time, phi; got 'psi'" in message_of(
        OwnData(topology, (path,), (colvar,), bias=("phi",), coarse=("psi",))
    )
    for values, words in (
        (np.ones(5), "one number for each of the 12 frames, those left out included; got 5 numbers"),
        (-np.ones(FRAMES), "be zero or greater, and not zero everywhere"),
        (np.zeros(FRAMES), "be zero or greater, and not zero everywhere"),
        (np.full(FRAMES, np.nan), "be one finite number for each frame"),
        (np.ones((FRAMES, 2)), "be one finite number for each frame; got an array of shape (12, 2)"),
    ):
        np.save(tmp_path / "weights.npy", values)
        assert words in message_of(OwnData(topology, (path,), weights=(tmp_path / "weights.npy",)))
    (tmp_path / "weights.txt").write_text("1.0\nmany\n", encoding="utf-8")
    assert "be a file of one number for each frame" in message_of(
        OwnData(topology, (path,), weights=(tmp_path / "weights.txt",))
    )


def test_files_that_cannot_be_read(write, tmp_path):
    topology, path = write(whole_positions(), "run.dcd")
    assert "data.topology must be a file that mdtraj reads" in message_of(OwnData(tmp_path / "none.pdb", (path,)))
    assert "data.trajectories must be trajectories that mdtraj reads" in message_of(
        OwnData(topology, (tmp_path / "none.xtc",))
    )
    other = tmp_path / "other.dcd"
    few = molecule().subset([0, 1])
    mdtraj.Trajectory(np.zeros((2, 2, 3)), few).save(str(other))
    assert "of the 4 atoms of the topology" in message_of(OwnData(topology, (other,)))
    broken = whole_positions()
    broken[3, 1, 0] = np.nan
    _, bad = write(broken, "bad.dcd")
    assert "have finite positions; got frame 3" in message_of(OwnData(topology, (bad,)))
    assert "have frames after the first 12 (discard); got 12 frames" in message_of(
        OwnData(topology, (path,), discard=12)
    )
    assert "data.selection must select atoms" in message_of(OwnData(topology, (path,), selection="name X"))
    assert "be a selection of mdtraj" in message_of(OwnData(topology, (path,), selection="name ("))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": (FILE,), "windows": (UMBRELLA,)}, "got weights and windows"),
        (
            {"windows": (UMBRELLA, UMBRELLA)},
            r"data.windows must have one entry for each trajectory \(1\), or none; got 2",
        ),
        ({"colvar": (FILE, FILE)}, r"data.colvar must have one entry for each trajectory \(1\), or none; got 2"),
        ({"bias": ("b",)}, "data.bias must be left out where there is no colvar"),
        ({"weights": (FILE,) * 3}, r"data.weights must be one file, or one for each trajectory \(1\); got 3"),
    ],
)
def test_settings_that_exclude_each_other(settings, message):
    with pytest.raises(InputError, match=message):
        OwnData(FILE, (FILE,), **settings)


def test_too_many_frames_and_boxes_that_are_none(write, monkeypatch):
    topology, path = write(whole_positions(), "run.dcd")
    monkeypatch.setattr("micromacro.molecules.imported.MOST_FRAMES", 20)
    message = message_of(OwnData(topology, (path, path)))
    assert "have at most 8 frames of 4 atoms in all; got more. Give a larger data.stride" in message
    monkeypatch.setattr(trajectories, "SMALLEST_BOX", 5.0)
    _, boxed = write(whole_positions(), box=True)
    assert "have a box of 5.0 nm at least, or none; got 3 nm" in message_of(OwnData(topology, (boxed,)))


def test_a_box_needs_bonds(write, tmp_path):
    _, path = write(whole_positions(), box=True)
    bare = mdtraj.Topology()
    residue = bare.add_residue("UNK", bare.add_chain())
    for name in "ABCD":
        bare.add_atom(name, mdtraj.element.carbon, residue)
    mdtraj.Trajectory(whole_positions(1), bare).save_pdb(str(tmp_path / "bare.pdb"))
    message = message_of(OwnData(tmp_path / "bare.pdb", (path,)))
    assert "data.topology must have bonds where trajectories have a box" in message
