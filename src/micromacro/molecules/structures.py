"""Starting structures from files: the same atoms in each, molecules whole, positions in nm."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np
from jaxtyping import Float, Int
from openmm import app
from openmm.unit import md_unit_system

from micromacro.errors import InputError
from micromacro.reading import MOST_TEXT_BYTES, why_unreadable

KEY = "system.structure"


@dataclass(frozen=True, eq=False)
class Structures:
    """What structure files hold.

    **Arguments:**

    - `topology`: atoms, residues, bonds and the box of the first file, by OpenMM.
    - `positions`: `(n, atoms, 3)` in nm, one for each model of each file.
    """

    topology: app.Topology
    positions: Float[np.ndarray, "n atoms 3"]

    @property
    def box(self) -> Float[np.ndarray, "3 3"] | None:
        """The vectors of the periodic box as rows, in nm; `None` without one."""
        vectors = self.topology.getPeriodicBoxVectors()
        return None if vectors is None else np.array(vectors.value_in_unit_system(md_unit_system))


def read_structures(paths: Sequence[Path], source: str | None = None) -> Structures:
    """The structures of PDB or mmCIF files, every model of each.

    **Raises:** `InputError` for a file that is missing or cannot be read, and for files of different atoms.
    """
    files = [_read(path, source) for path in paths]
    first = _labels(files[0].topology)
    for path, file in zip(paths, files, strict=True):
        _check_same_atoms(first, _labels(file.topology), paths[0], path, source)
    frames = [_positions(file, frame) for file in files for frame in range(file.getNumFrames())]
    structures = Structures(files[0].topology, np.array(frames))
    if not np.all(np.isfinite(structures.positions)):
        raise InputError(KEY, "hold finite positions", "a position that is not a number", source=source)
    box = structures.box
    return structures if box is None else Structures(structures.topology, _whole(structures, box))


def solute_atoms(topology: mdtraj.Topology) -> Int[np.ndarray, "solute"]:
    """The indices of all atoms but those of water and of residues of one atom, which are ions."""
    inside = (residue for residue in topology.residues if not residue.is_water and residue.n_atoms > 1)
    return np.array([atom.index for residue in inside for atom in residue.atoms], int)


def _read(path: Path, source: str | None) -> app.PDBFile | app.PDBxFile:
    if (reason := why_unreadable(path, MOST_TEXT_BYTES)) is not None:
        raise InputError(KEY, "name a file that exists", f"'{path.name}' ({reason})", source=source)
    reader = app.PDBxFile if path.suffix.lower() in (".cif", ".pdbx") else app.PDBFile
    try:
        file = reader(str(path))
    except Exception as error:
        given = f"{type(error).__name__} in '{path.name}': {error}"
        raise InputError(KEY, "name a PDB or mmCIF file that can be read", given, source=source) from error
    if not file.topology.getNumAtoms():
        raise InputError(KEY, "name a PDB or mmCIF file with atoms", f"none in '{path.name}'", source=source)
    return file


def _positions(file: app.PDBFile | app.PDBxFile, frame: int) -> Float[np.ndarray, "atoms 3"]:
    positions = file.getPositions(asNumpy=True, frame=frame)
    assert positions is not None
    return np.array(positions.value_in_unit_system(md_unit_system), float)


def _labels(topology: app.Topology) -> list[str]:
    return [f"{atom.name} of {atom.residue.name} {atom.residue.index + 1}" for atom in topology.atoms()]


def _check_same_atoms(first: list[str], other: list[str], reference: Path, path: Path, source: str | None) -> None:
    if len(first) != len(other):
        given = f"{len(first)} in '{reference.name}' and {len(other)} in '{path.name}'"
        raise InputError(KEY, "have as many atoms in every file", given, source=source)
    for index, (one, another) in enumerate(zip(first, other, strict=True)):
        if one != another:
            given = f"atom {index} is {one} in '{reference.name}' and {another} in '{path.name}'"
            remedy = "Write every structure with its atoms in the order of the first."
            raise InputError(KEY, "have the same atoms in every file", given, source=source, remedy=remedy)


def _whole(structures: Structures, box: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "n atoms 3"]:
    """The positions with no molecule split by the walls of the box."""
    trajectory = mdtraj.Trajectory(structures.positions, mdtraj.Topology.from_openmm(structures.topology))
    trajectory.unitcell_vectors = np.repeat(box[None], len(structures.positions), axis=0)
    before = np.asarray(trajectory.xyz)
    after = np.asarray(trajectory.make_molecules_whole().xyz)
    # mdtraj keeps positions in 32 bits: only those of molecules that were split are taken from it
    return np.where(np.abs(after - before) > 1e-3, after, structures.positions)
