"""Trajectories of any format that mdtraj reads, in pieces, with molecules made whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np
from jaxtyping import Float, Int

from micromacro.errors import InputError
from micromacro.molecules import trial_reading
from micromacro.molecules.trr_headers import why_damaged
from micromacro.reading import MOST_TEXT_BYTES, why_unpacks_too_large, why_unreadable

CHUNK = 500
MOST_FRAMES = 1_000_000
MOST_NUMBERS = 200_000_000
SMALLEST_BOX = 0.3
WITHOUT_TIMES = (
    ".dcd",
    ".pdb",
    ".pdb.gz",
    ".xyz",
    ".xyz.gz",
    ".lammpstrj",
    ".mdcrd",
    ".crd",
    ".binpos",
    ".arc",
    ".gro",
)
ROUNDED = (".xtc", ".tng", ".pdb", ".pdb.gz", ".gro", ".mdcrd", ".crd", ".xyz", ".xyz.gz")
REFUSED = (".h5", ".hdf5", ".lh5")
"""The package that reads these unpickles what it finds in them."""
TEXTS = (".pdb", ".gro", ".xyz", ".lammpstrj", ".mdcrd", ".crd", ".arc", ".prmtop", ".parm7", ".psf", ".mol2", ".cif")
LONGEST_SELECTION, MOST_BRACKETS = 1000, 10
"""Characters, and brackets within each other: the parser takes ever longer for more."""


@dataclass(frozen=True)
class Trajectory:
    """Frames of one file.

    **Arguments:**

    - `positions`: `(n, atoms, 3)` in nm, molecules whole.
    - `number`: which frame of the file each is, counted from 0, `(n,)`.
    - `time`: of each in ps `(n,)`; `None` where the format keeps none.
    - `total`: how many frames the file has.
    - `source`: the file.
    """

    positions: Float[np.ndarray, "n atoms 3"]
    number: Int[np.ndarray, "n"]
    time: Float[np.ndarray, "n"] | None
    total: int
    source: str


def read_topology(path: Path | str) -> mdtraj.Topology:
    """Atoms, residues and bonds. **Raises:** `InputError` for a file that mdtraj does not read as a topology."""
    requirement = "be a file that mdtraj reads as a topology, such as PDB or prmtop"
    _check_file(path, "data.topology", requirement)
    try:
        topology = mdtraj.load_topology(str(Path(path).resolve()))
    # files of strangers fail in mdtraj in every way
    except Exception as error:
        raise InputError("data.topology", requirement, _short(error), source=str(path)) from error
    if topology is None:
        raise InputError("data.topology", requirement, "a file without one", source=str(path))
    return topology


def selected_atoms(topology: mdtraj.Topology, selection: str) -> Int[np.ndarray, "atoms"]:
    """Indices of the atoms of a selection of mdtraj. **Raises:** `InputError` for one that selects none."""
    if len(selection) > LONGEST_SELECTION or selection.count("(") > MOST_BRACKETS:
        requirement = f"have at most {LONGEST_SELECTION} characters and {MOST_BRACKETS} brackets"
        raise InputError("data.selection", requirement, f"{len(selection)} and {selection.count('(')}")
    try:
        chosen = topology.select(selection)
    except Exception as error:
        raise InputError("data.selection", "be a selection of mdtraj, such as 'protein'", repr(selection)) from error
    if len(chosen) == 0:
        raise InputError("data.selection", "select atoms of the topology", repr(selection))
    return chosen


def read_trajectory(
    path: Path | str,
    topology: mdtraj.Topology,
    atoms: Int[np.ndarray, "atoms"],
    *,
    discard: int = 0,
    stride: int = 1,
    most: int = MOST_FRAMES,
) -> Trajectory:
    """Read every `stride`-th frame of a file after the first `discard`, in pieces.

    Where there is a box, atoms of one molecule are brought together along its bonds. How molecules lie to one another
    is left as it is.

    **Arguments:**

    - `atoms`: which to keep, indices of the topology.
    - `most`: frames that may be kept.

    **Raises:** `InputError` for a file that cannot be read or does not fit the topology, has no frames, positions that
    are not finite, a box without bonds, and for more than `most` frames.
    """
    kept, numbers, times, total = [], [], [], 0
    for chunk in _chunks(path, topology, atoms):
        index = total + np.arange(len(chunk))
        total += len(chunk)
        keep = (index >= discard) & ((index - discard) % stride == 0)
        if not keep.any():
            continue
        piece = _whole(chunk[keep], path)
        positions = np.asarray(piece.xyz)
        _check_finite(positions, index[keep], path)
        kept.append(positions)
        numbers.append(index[keep])
        times.append(np.asarray(piece.time, float))
        _check_size(sum(map(len, numbers)), len(atoms), most, path)
    if not kept:
        requirement = f"have frames after the first {discard} (discard)"
        raise InputError("data.trajectories", requirement, f"{total} frames", source=str(path))
    time = None if str(path).lower().endswith(WITHOUT_TIMES) else np.concatenate(times)
    return Trajectory(np.concatenate(kept), np.concatenate(numbers), time, total, str(path))


def is_rounded(path: Path | str) -> bool:
    """Whether the format rounds positions, so that no energy can be computed from them."""
    return str(path).lower().endswith(ROUNDED)


def _chunks(path: Path | str, topology: mdtraj.Topology, atoms: np.ndarray) -> Iterator[mdtraj.Trajectory]:
    chosen = None if len(atoms) == topology.n_atoms else atoms
    requirement = f"be trajectories that mdtraj reads, of the {topology.n_atoms} atoms of the topology"
    _check_file(path, "data.trajectories", requirement)
    if str(path).lower().endswith(trial_reading.FORMATS):
        reason = trial_reading.why_damaged(Path(path), topology.n_atoms)
        if reason is not None:
            raise InputError("data.trajectories", requirement, reason, source=str(path))
    try:
        yield from mdtraj.iterload(str(Path(path).resolve()), chunk=CHUNK, top=topology, atom_indices=chosen)
    except Exception as error:
        raise InputError("data.trajectories", requirement, _short(error), source=str(path)) from error


def _check_file(path: Path | str, key: str, requirement: str) -> None:
    """Refuse what is no file, what is too large to be text, and formats that may hold Python objects."""
    name = str(path).lower().removesuffix(".gz")
    if name.endswith(REFUSED):
        remedy = "Convert it, with mdconvert of mdtraj to .nc or .dcd: its reader runs what such a file may hold."
        raise InputError(key, "not be HDF5", f"'{Path(path).name}'", source=str(path), remedy=remedy)
    reason = why_unreadable(Path(path), MOST_TEXT_BYTES if name.endswith(TEXTS) else None)
    if reason is None and str(path).lower().endswith((".gz", ".bz2")):
        reason = why_unpacks_too_large(Path(path))
    if reason is None and name.endswith(".trr"):
        reason = why_damaged(Path(path))
    if reason is not None:
        raise InputError(key, requirement, reason, source=str(path))


def _whole(piece: mdtraj.Trajectory, path: Path | str) -> mdtraj.Trajectory:
    box = piece.unitcell_lengths
    if box is None or piece.n_atoms == 1:
        return piece
    if np.min(box) < SMALLEST_BOX:
        requirement = f"have a box of {SMALLEST_BOX} nm at least, or none"
        raise InputError("data.trajectories", requirement, f"{np.min(box):g} nm", source=str(path))
    if piece.topology is None or piece.topology.n_bonds == 0:
        requirement = "have bonds where trajectories have a box, to make molecules whole"
        remedy = "Use a prmtop, or a PDB with CONECT records."
        raise InputError("data.topology", requirement, "none", source=str(path), remedy=remedy)
    return piece.make_molecules_whole(inplace=True)


def _check_finite(positions: np.ndarray, index: np.ndarray, path: Path | str) -> None:
    broken = ~np.isfinite(positions).all(axis=(1, 2))
    if broken.any():
        frame = int(index[np.argmax(broken)])
        raise InputError("data.trajectories", "have finite positions", f"frame {frame}", source=str(path))


def _check_size(frames: int, atoms: int, most: int, path: Path | str) -> None:
    most = min(most, MOST_NUMBERS // (3 * atoms))
    if frames > most:
        raise InputError(
            "data.trajectories",
            f"have at most {most} frames of {atoms} atoms in all",
            "more",
            source=str(path),
            remedy="Give a larger data.stride, or a data.selection of atoms.",
        )


def _short(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
