"""The free energy of the coarse variable on a grid, and of basins, with standard errors."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.estimates.mbar import (
    MBAR,
    Bias,
    Pool,
    chain_weights,
    grouping,
    rows_at_once,
    state_means,
    window_factors,
)

FEWEST_SAMPLES = 10
LOW = 6.0


@dataclass(frozen=True)
class Grid:
    """Centres of uniform cells over a box.

    `points` `(n, d)` in row-major order; `origin` and `spacing` `(d,)`; `shape` the number of cells per dimension.
    """

    points: Float[np.ndarray, "n d"]
    origin: Float[np.ndarray, "d"]
    spacing: Float[np.ndarray, "d"]
    shape: tuple[int, ...]
    periodic: tuple[bool, ...]

    def cell(self, coarse: Float[np.ndarray, "n d"]) -> np.ndarray:
        """The flat index of the cell of each coarse value; -1 outside."""
        index = np.floor((coarse - self.origin) / self.spacing + 0.5).astype(np.int64)
        index = np.where(self.periodic, np.mod(index, self.shape), index)
        inside = np.all((index >= 0) & (index < self.shape), axis=1)
        flat = np.ravel_multi_index(tuple(np.clip(index, 0, np.asarray(self.shape) - 1).T), self.shape)
        return np.where(inside, flat, -1)


def coarse_grid(coarse: CoarseVariable, padding: int = 0) -> Grid:
    """The grid of results: 120 cells in one dimension, 40 per dimension in two, 16 in three and more.

    `padding` adds cells at each end of a bounded axis.
    """
    per_dimension = {1: 120, 2: 40}.get(coarse.dimension, 16)
    spacing = coarse.range / per_dimension
    extra = np.where(coarse.periodic, 0, padding)
    origin = coarse.lower + (0.5 - extra) * spacing
    shape = tuple(int(per_dimension + 2 * more) for more in extra)
    axes = [origin[a] + spacing[a] * np.arange(shape[a]) for a in range(coarse.dimension)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, coarse.dimension)
    return Grid(points, origin, spacing, shape, coarse.periodic)


@dataclass(frozen=True)
class FreeEnergySurface:
    """F on a grid, in kT.

    `free_energy` is zero at its smallest; `stderr` is of F minus its mean over the cells below 6 kT; both NaN where
    nothing was sampled. `chain_variance` `(C,)`: what each chain adds to the mean of `stderr` squared over those cells,
    where it was estimated.
    """

    grid: Grid
    free_energy: Float[np.ndarray, "n"]
    stderr: Float[np.ndarray, "n"]
    chain_variance: Float[np.ndarray, "C"] | None = None


def free_energy_surface(pool: Pool, mbar: MBAR, bias: Bias, grid: Grid) -> FreeEnergySurface:
    r"""F(z) at the centres of a grid.

    The pooled density of ξ is nearly flat, and its ratio to exp(-F) is the MBAR denominator, which is known at every z:
    $F(z) = -\log \rho(z) + \log \sum_k N_k e^{f_k - b_k(z)}$. Only the flat factor is smoothed over a cell, so that the
    values are those at the centre, however steep F is.

    **Returns:** F with its clustered standard errors: chains are independent, their samples need not be.
    """
    cells, clusters, states = len(grid.points), mbar.influence.shape[1], len(mbar.counts)
    cell = grid.cell(pool.coarse)
    inside = cell >= 0
    weight = pool.weight[inside]
    density = np.bincount(cell[inside], weights=weight, minlength=cells)
    sampled = np.bincount(cell[inside], minlength=cells) >= FEWEST_SAMPLES
    biases = np.asarray(bias(jnp.asarray(grid.points)))
    with np.errstate(divide="ignore"):
        free_energy = np.where(sampled, -np.log(density) + mbar.log_denominator_at(biases), np.nan)
    free_energy = free_energy - np.nanmin(free_energy) if sampled.any() else free_energy

    weights = chain_weights(pool, clusters, states)
    factor = window_factors(weights)
    indicator = sparse_indicator(cell, inside, pool.weight, cells)
    scaled = sparse_indicator(cell, inside, factor[pool.state] * pool.weight, cells)
    per_cluster = sparse.csr_array(grouping(pool.cluster, clusters) @ scaled).toarray()
    per_state = sparse.csr_array(grouping(pool.state, states) @ indicator).toarray()
    centred = per_cluster - weights @ (factor[:, None] * state_means(per_state, mbar.counts))
    influence = -(centred / np.where(sampled, density, 1.0)).T
    influence += mbar.responsibilities_at(biases) @ mbar.influence
    low = sampled & (np.nan_to_num(free_energy, nan=np.inf) < LOW)
    influence -= influence[low].mean(axis=0) if low.any() else 0.0
    stderr = np.where(sampled, np.sqrt(np.sum(influence**2, axis=1)), np.nan)
    chain_variance = np.mean(influence[low] ** 2, axis=0) if low.any() else None
    return FreeEnergySurface(grid, free_energy, stderr, chain_variance)


def sparse_indicator(cell: np.ndarray, inside: np.ndarray, weight: np.ndarray, cells: int) -> sparse.csr_array:
    """The sparse matrix `(n, cells)` that holds the weight of each sample in the column of its cell."""
    rows = np.flatnonzero(inside)
    return sparse.csr_array((weight[rows], (rows, cell[rows])), shape=(len(cell), cells))


@dataclass(frozen=True)
class BasinFreeEnergy:
    """The free energy of one basin relative to the lowest, in kT, with its standard error.

    `chain_variance` `(C,)`: what each chain adds to `stderr` squared; `None` where there was no sample.
    """

    free_energy: float
    stderr: float
    chain_variance: Float[np.ndarray, "C"] | None = None


def basin_free_energies(
    pool: Pool, mbar: MBAR, bias: Bias, members: dict[str, Bool[np.ndarray, "n"]]
) -> dict[str, BasinFreeEnergy]:
    r"""Free energies $-\log \int_b e^{-F} dz$ of basins, relative to the lowest, with clustered standard errors.

    **Arguments:**

    - `members`: name of the basin to whether each sample lies in it, `(n,)`.
    """
    names = list(members)
    states, clusters = mbar.influence.shape
    weight = pool.weight * np.exp(mbar.log_denominator.min() - mbar.log_denominator)
    inside = np.stack([weight * members[name] for name in names], axis=1)
    total = inside.sum(axis=0)
    weights = chain_weights(pool, clusters, states)
    factor = window_factors(weights)
    per_cluster = grouping(pool.cluster, clusters) @ (factor[pool.state, None] * inside)
    per_state = grouping(pool.state, states) @ inside
    centred = per_cluster - weights @ (factor[:, None] * state_means(per_state, mbar.counts))
    slope = np.zeros((len(names), states))
    rows = rows_at_once(states)
    for begin in range(0, len(weight), rows):
        part = slice(begin, begin + rows)
        slope -= inside[part].T @ mbar.responsibilities_at(np.asarray(bias(jnp.asarray(pool.coarse[part]))))
    with np.errstate(divide="ignore", invalid="ignore"):
        change = (centred + (slope @ mbar.influence).T) / total
        value = -np.log(total)
    lowest = int(np.argmin(value))
    chain_variance = (change - change[:, [lowest]]) ** 2
    stderr = np.sqrt(np.sum(chain_variance, axis=0))
    return {
        name: BasinFreeEnergy(float(value[i] - value[lowest]), float(stderr[i]), chain_variance[:, i])
        if total[i] > 0
        else BasinFreeEnergy(np.nan, np.nan)
        for i, name in enumerate(names)
    }
