r"""Standard errors of whatever follows from a closure, by replicas of its table.

Drift and diffusion are drawn within their standard errors. Neighbouring cells share samples: the noise is white noise
smoothed by a Gaussian of 0.54 half-widths of the kernel that made the table, which for a kernel of one cell gives
neighbours the correlation 0.34 of their overlap.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d

from micromacro.closures.grid import grid_of_points
from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.table import ClosureTable
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.estimates.surface import Grid

KERNEL_WIDTH = 0.54
"""The standard deviation of the smoothing, in half-widths of the kernel that made the table."""


@dataclass(frozen=True)
class Spread:
    """A statistic of the reduced dynamics with its standard error.

    **Arguments:**

    - `value`: of the table itself, `(m,)`.
    - `stderr`: the standard deviation over the replicas, `(m,)`.
    - `draws`: the statistic of each replica, `(replicas, m)`.
    """

    value: Float[np.ndarray, "m"]
    stderr: Float[np.ndarray, "m"]
    draws: Float[np.ndarray, "replicas m"]


def spread(
    table: ClosureTable,
    coarse: CoarseVariable,
    statistic: Callable[[ReducedDynamics], ArrayLike],
    *,
    replicas: int = 50,
    seed: int = 0,
    half_width: float = 1.0,
) -> Spread:
    """A statistic of the reduced dynamics and its standard error from that of the table.

    **Arguments:**

    - `statistic`: the dynamics to a number or an array `(m,)`: implied time scales, passage times, a density.
    - `replicas`: tables drawn.
    - `half_width`: of the kernel that made the table, in cells: how far errors are correlated.

    **Raises:** `InputError` for a table whose standard errors are not known where its values are.
    """
    known = table.finite
    errors = np.concatenate([table.drift_stderr, table.diffusion_stderr.reshape(len(known), -1)], axis=1)
    if not np.isfinite(errors[known]).all():
        raise InputError("the standard errors of the closure", "be known where it is", "some that are not")
    grid, rng = grid_of_points(coarse, table.z), np.random.default_rng(seed)
    value = np.atleast_1d(np.asarray(statistic(ReducedDynamics.from_table(table, coarse)), float))
    draws = np.stack(
        [
            np.atleast_1d(statistic(ReducedDynamics.from_table(_replica(table, grid, half_width, rng), coarse)))
            for _ in range(replicas)
        ]
    ).astype(float)
    with np.errstate(invalid="ignore"):  # a passage time may be infinite
        return Spread(value, draws.std(axis=0, ddof=1), draws)


def _replica(table: ClosureTable, grid: Grid, half_width: float, rng: np.random.Generator) -> ClosureTable:
    """The table with drift and diffusion drawn about it; the diffusion stays symmetric."""
    cells, d = table.drift.shape
    noise = _noise(grid, half_width, rng.standard_normal((cells, d + d * d)))
    matrix = noise[:, d:].reshape(cells, d, d)
    matrix = np.tril(matrix) + np.swapaxes(np.tril(matrix, -1), 1, 2)
    drift = table.drift + table.drift_stderr * noise[:, :d]
    diffusion = table.diffusion + table.diffusion_stderr * matrix
    return ClosureTable(table.z, drift, table.drift_stderr, diffusion, table.diffusion_stderr)


def _noise(grid: Grid, half_width: float, white: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
    """White noise made smooth along every axis, still of unit variance in every cell."""
    field = white.reshape(*grid.shape, -1)
    for axis, (count, periodic) in enumerate(zip(grid.shape, grid.periodic, strict=True)):
        mode = "wrap" if periodic else "nearest"
        smoothing = gaussian_filter1d(np.eye(count), KERNEL_WIDTH * half_width, axis=0, mode=mode)
        smoothing /= np.linalg.norm(smoothing, axis=1, keepdims=True)
        field = np.moveaxis(np.tensordot(smoothing, field, axes=(1, axis)), 0, axis)
    return field.reshape(white.shape)
