"""Which row of a COLVAR file belongs to which frame of a trajectory."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from micromacro.errors import InputError
from micromacro.molecules.colvar import TIME, Colvar
from micromacro.molecules.trajectories import Trajectory

BIAS, WITHOUT_CONSTANT = ".bias", ".rbias"
TOLERANCE = 0.02
SINGLE_PRECISION = 2e-7


def matching_rows(trajectory: Trajectory, colvar: Colvar, times: tuple[float, float] | None) -> Int[np.ndarray, "n"]:
    """The row of each frame that was kept: by time where the trajectory keeps or is given times, else by number.

    **Arguments:**

    - `times`: of the first frame of the file and between frames, in ps, instead of those that the file keeps.

    **Raises:** `InputError` where a frame has no row, or, without times, where there are not as many rows as frames.
    """
    time = trajectory.time if times is None else times[0] + times[1] * trajectory.number
    if time is None or TIME not in colvar.names:
        return _by_number(trajectory, colvar)
    return _by_time(trajectory, colvar, time)


def bias_columns(colvar: Colvar, wanted: Sequence[str]) -> tuple[str, ...]:
    """The columns named, or those that end in `.bias`; `.rbias`, less the constant of the time, where it is there."""
    if wanted:
        return tuple(wanted)
    labels = [name.removesuffix(BIAS) for name in colvar.names if name.endswith(BIAS)]
    return tuple(label + (WITHOUT_CONSTANT if label + WITHOUT_CONSTANT in colvar.names else BIAS) for label in labels)


def _by_number(trajectory: Trajectory, colvar: Colvar) -> Int[np.ndarray, "n"]:
    if len(colvar) != trajectory.total:
        raise InputError(
            "data.colvar",
            f"have a row for each of the {trajectory.total} frames of {trajectory.source}, which keeps no times",
            f"{len(colvar)} rows",
            source=colvar.source,
            remedy="Give data.times = [first, interval], in ps, of the frames of each trajectory.",
        )
    return trajectory.number


def _by_time(trajectory: Trajectory, colvar: Colvar, time: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    if len(colvar) == 0:
        raise InputError("data.colvar", "have rows", "none", source=colvar.source)
    if np.any(np.diff(time) <= 0):
        frame = int(trajectory.number[np.argmax(np.diff(time) <= 0) + 1])
        raise InputError(
            "data.trajectories",
            "have times that increase from frame to frame where COLVAR files are matched by them",
            f"frame {frame} at {time[np.argmax(np.diff(time) <= 0) + 1]:g} ps",
            source=trajectory.source,
            remedy="Give data.times = [first, interval], or a file without repeated frames.",
        )
    of_rows = colvar.column(TIME)
    after = np.clip(np.searchsorted(of_rows, time), 1, max(len(of_rows) - 1, 1))
    candidates = np.stack([after - 1, np.minimum(after, len(of_rows) - 1)])
    nearest = candidates[np.argmin(np.abs(of_rows[candidates] - time), axis=0), np.arange(len(time))]
    step = np.min(np.diff(of_rows)) if len(of_rows) > 1 else 0.0
    # a float32 of a late time, as trajectories keep it, is itself rounded
    missing = np.abs(of_rows[nearest] - time) > TOLERANCE * step + SINGLE_PRECISION * np.abs(time) + 1e-9
    if missing.any():
        first = int(np.argmax(missing))
        span = f"{of_rows[0]:g} to {of_rows[-1]:g} ps" + (f" every {step:g}" if step else "")
        raise InputError(
            "data.colvar",
            f"have a row for each frame of {trajectory.source}",
            f"none at {time[first]:g} ps, frame {trajectory.number[first]} ({missing.sum()} such frames); rows: {span}",
            source=colvar.source,
            remedy="Give data.times = [first, interval], in ps, if the trajectory's own times are wrong.",
        )
    return nearest
