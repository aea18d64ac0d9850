"""People's own data: frames of their trajectories with the weights that COLVAR files or they themselves give."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np
from jaxtyping import Float, Int

from micromacro.array_files import read_array
from micromacro.errors import InputError
from micromacro.molecules.colvar import Colvar, read_colvar
from micromacro.molecules.data_files import OwnData, Umbrella
from micromacro.molecules.matching import bias_columns, matching_rows
from micromacro.molecules.trajectories import (
    MOST_FRAMES,
    Trajectory,
    is_rounded,
    read_topology,
    read_trajectory,
    selected_atoms,
)
from micromacro.reading import MOST_TEXT_BYTES, why_unreadable


@dataclass(frozen=True)
class ImportedFrames:
    """Frames of all trajectories, one after the other.

    **Arguments:**

    - `positions`: `(n, atoms, 3)` in nm, molecules whole.
    - `log_weight`: of each frame in the ensemble without bias `(n,)`, the greatest zero; zeros for those of windows.
    - `trajectory`: which trajectory each came from, `(n,)`.
    - `topology`: the atoms that were kept.
    - `windows`: the bias of each trajectory, or none.
    - `coarse`: the coarse variables as COLVAR files have them `(n, d)`, or `None`.
    - `bias`: the bias of each frame in kJ/mol as they have it `(n,)`, or `None`.
    - `rounded`: whether a format rounded positions: no energy may be computed from them.
    - `sources`: the file of each trajectory.
    """

    positions: Float[np.ndarray, "n atoms 3"]
    log_weight: Float[np.ndarray, "n"]
    trajectory: Int[np.ndarray, "n"]
    topology: mdtraj.Topology
    windows: tuple[Umbrella, ...] = ()
    coarse: Float[np.ndarray, "n d"] | None = None
    bias: Float[np.ndarray, "n"] | None = None
    rounded: bool = False
    sources: tuple[str, ...] = ()


def read_own_data(data: OwnData, kT: float) -> ImportedFrames:
    r"""Read trajectories with what lies beside them.

    A bias V that no longer changes weighs a frame by $e^{V/kT}$. It may be a sum of columns; of an adaptive bias the
    column should be the one less its own constant of the time, such as `metad.rbias`, which is preferred to `.bias`.

    **Arguments:**

    - `kT`: in kJ/mol, of the simulation that made the trajectories.

    **Raises:** `InputError` for files that cannot be read or do not fit each other, and for weights that are none.
    """
    topology = read_topology(data.topology)
    atoms = selected_atoms(topology, data.selection)
    parts = _trajectories(data, topology, atoms)
    colvars = [read_colvar(path) for path in data.colvar]
    rows = [matching_rows(part, table, data.times) for part, table in zip(parts, colvars, strict=False)]
    bias = _bias(data, colvars, rows)
    if bias is None or data.windows or data.weights or data.log_weights:
        log_weight = _given_weights(data, parts)
    else:
        log_weight = bias / kT
    return ImportedFrames(
        np.concatenate([part.positions for part in parts]),
        log_weight - np.max(log_weight),
        np.repeat(np.arange(len(parts)), [len(part.number) for part in parts]),
        topology.subset(atoms.tolist()),
        data.windows,
        _coarse_columns(data, colvars, rows),
        bias,
        any(is_rounded(path) for path in data.trajectories),
        tuple(str(path) for path in data.trajectories),
    )


def _trajectories(data: OwnData, topology: mdtraj.Topology, atoms: np.ndarray) -> list[Trajectory]:
    parts: list[Trajectory] = []
    for path in data.trajectories:
        most = MOST_FRAMES - sum(len(part.number) for part in parts)
        settings = {"discard": data.discard, "stride": data.stride, "most": most}
        parts.append(read_trajectory(path, topology, atoms, **settings))
    return parts


def _bias(data: OwnData, colvars: list[Colvar], rows: list[np.ndarray]) -> Float[np.ndarray, "n"] | None:
    if not colvars or data.weights or data.log_weights:
        return None
    parts = []
    for table, at in zip(colvars, rows, strict=True):
        names = bias_columns(table, data.bias)
        if not names and data.windows:
            return None
        if not names:
            requirement = f"name columns of the bias among {', '.join(table.names)}"
            raise InputError("data.bias", requirement, "none that ends in .bias", source=table.source)
        parts.append(np.sum([table.column(name)[at] for name in names], axis=0))
    return np.concatenate(parts)


def _coarse_columns(data: OwnData, colvars: list[Colvar], rows: list[np.ndarray]) -> Float[np.ndarray, "n d"] | None:
    if not data.coarse:
        return None
    return np.concatenate(
        [
            np.stack([table.column(name)[at] for name in data.coarse], axis=1)
            for table, at in zip(colvars, rows, strict=True)
        ]
    )


def _given_weights(data: OwnData, parts: list[Trajectory]) -> Float[np.ndarray, "n"]:
    """The logarithm of the weights in files, zeros where there are none."""
    paths, key = (data.weights, "data.weights") if data.weights else (data.log_weights, "data.log_weights")
    if not paths:
        return np.zeros(sum(len(part.number) for part in parts))
    found = [_numbers(path, key) for path in paths]
    totals = [part.total for part in parts]
    if len(found) == 1:
        _same_length(found[0], sum(totals), key, paths[0])
        found = np.split(found[0], np.cumsum(totals)[:-1])
    for values, total, path in zip(found, totals, _repeated(paths, len(totals)), strict=True):
        _same_length(values, total, key, path)
    values = np.concatenate([values[part.number] for values, part in zip(found, parts, strict=True)])
    if not data.weights:
        return values
    if np.any(values < 0) or not np.any(values > 0):
        raise InputError(key, "be zero or greater, and not zero everywhere", f"a least of {values.min():g}")
    with np.errstate(divide="ignore"):
        return np.log(values)


def _numbers(path: Path, key: str) -> Float[np.ndarray, "n"]:
    requirement = "be a file of one number for each frame, text or .npy"
    try:
        values = read_array(path) if path.suffix == ".npy" else _column(path)
        values = np.asarray(values, float)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            key, requirement, (str(error) or type(error).__name__).splitlines()[0], source=str(path)
        ) from error
    if values.ndim != 1 or not np.all(np.isfinite(values)):
        given = f"an array of shape {values.shape}" if values.ndim != 1 else "a number that is not finite"
        raise InputError(key, "be one finite number for each frame", given, source=str(path))
    return values


def _column(path: Path) -> Float[np.ndarray, "n"]:
    if (reason := why_unreadable(path, MOST_TEXT_BYTES)) is not None:
        raise ValueError(reason)
    with warnings.catch_warnings():
        # an empty file is told by its length
        warnings.simplefilter("ignore")
        return np.loadtxt(path, ndmin=1)


def _same_length(values: np.ndarray, frames: int, key: str, path: Path) -> None:
    if len(values) != frames:
        requirement = f"have one number for each of the {frames} frames, those left out included"
        raise InputError(key, requirement, f"{len(values)} numbers", source=str(path))


def _repeated(paths: Sequence[Path], count: int) -> Sequence[Path]:
    return paths if len(paths) == count else [paths[0]] * count
