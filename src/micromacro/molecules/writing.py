"""Samples of a molecule as files that other programs open: PDB, DCD or XTC, by the suffix."""

from pathlib import Path

import mdtraj
import numpy as np
from jaxtyping import Float

from micromacro.errors import InputError

FORMATS = (".pdb", ".dcd", ".xtc")
ROUNDED = {".pdb": 1e-4, ".xtc": 1e-3}
"""In nm, what positions are rounded to: no energy is to be computed from such a file. DCD keeps single precision."""


def write_samples(
    path: Path | str,
    positions: Float[np.ndarray, "n atoms 3"],
    topology: mdtraj.Topology,
    box: Float[np.ndarray, "3 3"] | None = None,
) -> tuple[Path, ...]:
    """Write samples, one frame each; beside DCD and XTC, which hold no atoms, the first of them as a PDB.

    **Arguments:**

    - `path`: ends in `.pdb`, `.dcd` or `.xtc`.
    - `positions`: in nm, in the order of the topology.
    - `box`: the vectors of the periodic box as rows, in nm.

    **Returns:** the files that were written.

    **Raises:** `InputError` for another suffix, no samples, a number of atoms that is not the topology's, and positions
    that are not finite.
    """
    path, positions = Path(path), np.asarray(positions)
    _check(path, positions, topology)
    trajectory = mdtraj.Trajectory(positions, topology)
    if box is not None:
        trajectory.unitcell_vectors = np.repeat(np.asarray(box, np.float32)[None], len(positions), axis=0)
    trajectory.save(str(path))
    if path.suffix.lower() == ".pdb":
        return (path,)
    atoms = path.with_name(f"{path.stem}.topology.pdb")
    trajectory[0].save(str(atoms))
    return path, atoms


def _check(path: Path, positions: Float[np.ndarray, "n atoms 3"], topology: mdtraj.Topology) -> None:
    if path.suffix.lower() not in FORMATS:
        raise InputError("a file of samples", f"end in {' or '.join(FORMATS)}", repr(path.name))
    if not len(positions):
        raise InputError("samples", "be one or more", "none")
    if positions.shape[1] != topology.n_atoms:
        raise InputError("samples", f"have the {topology.n_atoms} atoms of the topology", positions.shape[1])
    broken = ~np.isfinite(positions).all(axis=(1, 2))
    if broken.any():
        raise InputError("samples", "have finite positions", f"sample {int(np.argmax(broken))} without")
