r"""The free energy that a closure implies, to be compared with the one from MBAR.

For reversible dynamics $b = -D\nabla F/kT + \nabla\cdot D$, so $\nabla F/kT = D^{-1}(\nabla\cdot D - b)$. Its integral
along the edges between neighbouring cells is fitted by least squares, each edge with the inverse of its variance.
"""

import numpy as np
from jaxtyping import Float
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse import linalg as sparse_linalg

from micromacro.closures.grid import axis_neighbours, grid_of_points
from micromacro.closures.table import ClosureTable
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.estimates.surface import Grid

SMALLEST_VARIANCE = 0.01
"""Floor of the variance of an edge, as a share of the median."""


def free_energy_from_closure(table: ClosureTable, coarse: CoarseVariable) -> Float[np.ndarray, "n"]:
    """F in kT on the cells, `(n,)`, smallest 0; NaN outside the largest region where the closure is known."""
    return _fit(grid_of_points(coarse, table.z), table.drift, table.diffusion, _edge_variance(coarse, table))


def free_energy_spread(
    table: ClosureTable, coarse: CoarseVariable, *, replicas: int = 50, seed: int = 0
) -> Float[np.ndarray, "n"]:
    """The standard error of `free_energy_from_closure` minus its mean over the cells, `(n,)`, in kT.

    From replicas of the table with drift and diffusion drawn within their standard errors, independently in each cell:
    what neighbouring cells share makes the true error somewhat larger.
    """
    grid, rng = grid_of_points(coarse, table.z), np.random.default_rng(seed)
    variance = _edge_variance(coarse, table)
    draws = []
    for _ in range(replicas):
        noise = rng.standard_normal(table.diffusion.shape)
        noise = np.tril(noise) + np.swapaxes(np.tril(noise, -1), 1, 2)
        drift = table.drift + table.drift_stderr * rng.standard_normal(table.drift.shape)
        free_energy = _fit(grid, drift, table.diffusion + table.diffusion_stderr * noise, variance)
        draws.append(free_energy - np.nanmean(free_energy))
    return np.std(draws, axis=0, ddof=1)


def _fit(grid: Grid, drift, diffusion, edge_variance: list) -> Float[np.ndarray, "n"]:
    """Least squares for F on the graph of cells, given the variance of each axis's edges."""
    edges = [_edges(grid, drift, diffusion, axis) for axis in range(len(grid.shape))]
    first, second, rise = (np.concatenate(part) for part in zip(*edges, strict=True))
    variance = np.concatenate(edge_variance)
    known = np.isfinite(rise)
    first, second, rise, weight = first[known], second[known], rise[known], 1 / variance[known]
    region = _largest_component(len(grid.points), first, second)
    result = np.full(len(grid.points), np.nan)
    if not region.any():
        return result
    inside = region[first]
    edge_count = int(inside.sum())
    index = np.repeat(np.arange(edge_count), 2)
    ends = np.stack([first[inside], second[inside]], axis=1).ravel()
    gradient = sparse.coo_array((np.tile([-1.0, 1.0], edge_count), (index, ends)), shape=(edge_count, len(grid.points)))
    gradient = gradient.tocsc()[:, np.flatnonzero(region)]
    weighted = gradient.T @ sparse.diags_array(weight[inside])
    free_energy = np.zeros(gradient.shape[1])
    normal = (weighted @ gradient).tocsc()[1:, 1:]
    free_energy[1:] = np.asarray(sparse_linalg.spsolve(normal, (weighted @ rise[inside])[1:]))
    result[region] = free_energy - free_energy.min()
    return result


def _edges(grid: Grid, drift, diffusion, axis: int):
    """Cells at both ends of each edge along `axis`, and the rise of F/kT along it from values at its midpoint."""
    first, second = axis_neighbours(grid, axis)
    middle = (diffusion[first] + diffusion[second]) / 2
    divergence = (diffusion[second] - diffusion[first])[:, :, axis] / grid.spacing[axis]
    for other in range(len(grid.shape)):
        if other != axis:
            slope = _slope(grid, diffusion[:, :, other], other)
            divergence = divergence + (slope[first] + slope[second]) / 2
    force = divergence - (drift[first] + drift[second]) / 2
    known = np.isfinite(force).all(axis=1) & np.isfinite(middle).all(axis=(1, 2))
    known &= np.linalg.det(np.where(known[:, None, None], middle, 0)) > 0
    gradient = np.full_like(force, np.nan)
    gradient[known] = np.linalg.solve(middle[known], force[known][..., None])[..., 0]
    return first, second, gradient[:, axis] * grid.spacing[axis]


def _slope(grid: Grid, values: Float[np.ndarray, "n d"], axis: int) -> Float[np.ndarray, "n d"]:
    """The derivative along `axis` at each cell: central, one-sided next to an end or an unknown cell."""
    first, second = axis_neighbours(grid, axis)
    difference = (values[second] - values[first]) / grid.spacing[axis]
    sides = np.full((2, *values.shape), np.nan)
    sides[0, first] = difference
    sides[1, second] = difference
    present = np.isfinite(sides)
    count = present.sum(axis=0)
    total = np.where(present, sides, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _edge_variance(coarse: CoarseVariable, table: ClosureTable) -> list[Float[np.ndarray, "e"]]:
    """The relative variance of the rise along each axis's edges, from the standard errors of the drift."""
    grid = grid_of_points(coarse, table.z)
    variances = []
    for axis in range(len(grid.shape)):
        first, second = axis_neighbours(grid, axis)
        scale = grid.spacing[axis] / np.abs(table.diffusion[:, axis, axis])
        variance = (table.drift_stderr[:, axis] * scale) ** 2
        variances.append((variance[first] + variance[second]) / 4)
    everything = np.concatenate(variances)
    known = everything[np.isfinite(everything) & (everything > 0)]
    typical = np.median(known) if len(known) else 1.0
    return [np.maximum(np.where(np.isfinite(v), v, typical), SMALLEST_VARIANCE * typical) for v in variances]


def _largest_component(size: int, first, second) -> np.ndarray:
    """The cells of the largest set that edges connect, `(n,)` booleans; none where there is no edge."""
    graph = sparse.coo_array((np.ones(len(first)), (first, second)), shape=(size, size))
    labels = csgraph.connected_components(graph.tocsr(), directed=False)[1]
    if len(first) == 0:
        return np.zeros(size, bool)
    return labels == np.argmax(np.bincount(labels))
