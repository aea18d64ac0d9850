"""Passage between two boxes of coarse values in trajectories of the full dynamics, few or many, cut short or not."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from micromacro.closures.full_model import FEWEST_WALKERS
from micromacro.closures.transitions import CountedTransitions, last_visited, waiting_time
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.estimates.surface import Grid

Corner = Sequence[float] | Float[np.ndarray, "d"]
Box = tuple[Corner, Corner]
"""The lower and the upper corner; along a periodic component the lower end may be the greater: the box goes round."""


def in_box(coarse: CoarseVariable, z: Float[np.ndarray, "... d"], box: Box) -> Bool[np.ndarray, "..."]:
    """Whether each coarse value lies in a box."""
    lower, upper = (np.asarray(corner, float) for corner in box)
    width = np.where(coarse.periodic, np.mod(upper - lower, coarse.range), upper - lower)
    offset = np.where(coarse.periodic, np.mod(z - lower, coarse.range), z - lower)
    return np.all((offset >= 0) & (offset < width), axis=-1)


def cells_in(coarse: CoarseVariable, grid: Grid, box: Box) -> Bool[np.ndarray, "n"]:
    """The cells whose centres lie in a box: the set that passage times of the reduced dynamics are about."""
    return in_box(coarse, grid.points, box)


def passage_times_of(
    coarse: CoarseVariable, series: Float[np.ndarray, "frames walkers d"], dt: float, first: Box, second: Box
) -> CountedTransitions:
    """Mean times from entering one box until entering the other, forward and back.

    Trajectories that end before a passage count with the time that they waited, which is the estimate of maximum
    likelihood for exponential waiting times and right for stationary ones; so trajectories may all begin in `first`,
    and may end anywhere. Standard errors are from the scatter between walkers, of whom few are cut into parts; with
    fewer than ten passages as if they were as rare as Poisson's. Visits between frames go unnoticed.

    **Raises:** `InputError` for a time that is not positive, or boxes that overlap in a frame.
    """
    if not dt > 0:
        raise InputError("dt", "be positive", dt)
    inside = in_box(coarse, series, first), in_box(coarse, series, second)
    if np.any(inside[0] & inside[1]):
        raise InputError("the two basins", "not overlap", f"{np.count_nonzero(inside[0] & inside[1])} frames in both")
    label = last_visited(np.where(inside[0], 0, np.where(inside[1], 1, -1)))
    before, after = _parts(label[:-1]), _parts(label[1:])
    (forward, forward_stderr, ahead), (backward, backward_stderr, back) = (
        waiting_time(before, after, state, dt) for state in (0, 1)
    )
    return CountedTransitions(forward, forward_stderr, backward, backward_stderr, (ahead, back))


def _parts(label: np.ndarray) -> np.ndarray:
    """Columns of a few walkers cut into as many parts as standard errors need; -1 fills what is left over."""
    frames, walkers = label.shape
    parts = -(-FEWEST_WALKERS // walkers)
    length = -(-frames // parts)
    filled = np.full((parts * length, walkers), -1, label.dtype)
    filled[:frames] = label
    return np.moveaxis(filled.reshape(parts, length, walkers), 1, 0).reshape(length, parts * walkers)
