r"""The closed reduced dynamics $dz = b(z)\,dt + \sqrt{2 D(z)}\,dW$ (Itô), simulated from the table of the closure.

Between the centres of the cells b and the Cholesky factor of 2D are interpolated multilinearly, which keeps D positive
definite. No further smoothing: each value of the table averages over about a cell already, and smoothing across the
noise would bias b. The dynamics lives in the largest connected set of sampled cells: trajectories are mirrored at the
ends of that region's bounding box, keep their place where a move would leave it elsewhere, and go round where periodic.
"""

import itertools
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy import ndimage

from micromacro.closures.grid import grid_of_points, largest_region, lower_corner, neighbours
from micromacro.closures.table import ClosureTable
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import PhysicsError
from micromacro.estimates.surface import Grid

SMALLEST_EIGENVALUE = 1e-3
"""Floor of the eigenvalues of D, as a share of the median eigenvalue: statistical errors may not make D indefinite."""


@dataclass(frozen=True)
class ReducedDynamics:
    """The closure on the cells of a grid, ready to simulate.

    **Arguments:**

    - `grid`: the cells.
    - `drift`: `(n, d)`; cells outside `region` hold the values of the nearest cell within.
    - `diffusion`: `(n, d, d)`, symmetric positive definite.
    - `region`: `(n,)`, the cells that the dynamics may visit.
    """

    grid: Grid
    drift: Float[np.ndarray, "n d"]
    diffusion: Float[np.ndarray, "n d d"]
    region: Bool[np.ndarray, "n"]

    @classmethod
    def from_table(cls, table: ClosureTable, coarse: CoarseVariable) -> "ReducedDynamics":
        """The dynamics of the largest connected region of the table where drift and diffusion are known."""
        grid = grid_of_points(coarse, table.z)
        region = largest_region(grid, table.finite)
        if not region.any():
            raise PhysicsError(
                "no cell of the closure has both a drift and a diffusion",
                where="reduced dynamics",
                remedy="Sample more, or choose a coarser grid.",
            )
        nearest = _nearest_within(grid, region)
        return cls(grid, table.drift[nearest], _positive_definite(table.diffusion[nearest]), region)

    @property
    def noise_factor(self) -> Float[np.ndarray, "n d d"]:
        """The lower Cholesky factor of 2D, `(n, d, d)`."""
        return np.linalg.cholesky(2 * self.diffusion)

    @property
    def walls(self) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d"]]:
        """The lower and upper corner of the bounding box of the region."""
        index = np.array(np.unravel_index(np.flatnonzero(self.region), self.grid.shape))
        lower = lower_corner(self.grid) + index.min(axis=1) * self.grid.spacing
        return lower, lower_corner(self.grid) + (index.max(axis=1) + 1) * self.grid.spacing


@dataclass(frozen=True)
class Trajectories:
    """Reduced trajectories: times `t` `(k,)`, coarse values `z` `(N, k, d)` and the time step of the integration."""

    t: Float[np.ndarray, "k"]
    z: Float[np.ndarray, "N k d"]
    time_step: float


def time_step(dynamics: ReducedDynamics) -> float:
    r"""The time step at which Euler–Maruyama resolves the closure.

    The least of 0.05 over the steepest slope of b (measured across four cells, to be robust to noise), the time in
    which diffusion crosses a cell, $\Delta_a^2/2D_{aa}$, and the time in which b crosses half a cell.
    """
    grid, region = dynamics.grid, dynamics.region
    fastest_noise = np.max(np.diagonal(dynamics.diffusion[region], axis1=1, axis2=2), axis=0)
    fastest_drift = np.max(np.abs(dynamics.drift[region]), axis=0)
    with np.errstate(divide="ignore"):
        limits = [
            0.05 / steepest_slope(dynamics),
            *(grid.spacing**2 / (2 * fastest_noise)),
            *(grid.spacing / (2 * fastest_drift)),
        ]
    return float(min(limits))


def steepest_slope(dynamics: ReducedDynamics) -> float:
    """The largest rate at which b changes with z, summed over the axes, per time; across four cells, against noise."""
    grid, region = dynamics.grid, dynamics.region
    slopes = np.zeros(len(grid.shape))
    for axis, count in enumerate(grid.shape):
        step = 4 if count > 4 else 1
        offset = tuple(step * int(other == axis) for other in range(len(grid.shape)))
        pairs = np.array(neighbours(grid, offset))
        first, second = pairs[:, region[pairs].all(axis=0)]
        change = np.linalg.norm(dynamics.drift[second] - dynamics.drift[first], axis=1)
        slopes[axis] = np.max(change, initial=0.0) / (step * grid.spacing[axis])
    return float(slopes.sum())


def draw_starts(
    dynamics: ReducedDynamics, free_energy_kT: Float[np.ndarray, "n"], count: int, seed: int
) -> Float[np.ndarray, "N d"]:
    """Starting points `(N, d)` from exp(-F/kT) over the cells of the region, uniform within a cell."""
    rng = np.random.default_rng(seed)
    usable = dynamics.region & np.isfinite(free_energy_kT)
    weight = np.where(usable, np.exp(-np.where(usable, free_energy_kT - np.min(free_energy_kT[usable]), 0)), 0)
    cell = rng.choice(len(dynamics.region), count, p=weight / weight.sum())
    centres = dynamics.grid.points[cell]
    return centres + rng.uniform(-0.5, 0.5, centres.shape) * dynamics.grid.spacing


def simulate(
    dynamics: ReducedDynamics,
    starts: Float[np.ndarray, "N d"],
    time: float,
    *,
    seed: int,
    saves: int = 501,
    largest_step: float | None = None,
) -> Trajectories:
    """Trajectories from `starts` to `time`, saved at `saves` equal intervals, the start included.

    The step is that of `time_step`, or `largest_step`, shortened to divide the interval between saves.
    """
    times = np.linspace(0, time, saves)
    interval = time / (saves - 1)
    steps = max(1, int(np.ceil(interval / (largest_step or time_step(dynamics)))))
    grid = dynamics.grid
    _require_within(dynamics, starts)
    tables = (dynamics.drift, dynamics.noise_factor, dynamics.region)
    frame = (lower_corner(grid), grid.spacing, *dynamics.walls)
    key = jax.random.key(seed)
    z = _run(key, starts, tables, frame, interval / steps, steps, saves - 1, grid.shape, grid.periodic)
    return Trajectories(times, np.concatenate([starts[:, None], np.asarray(z)], axis=1), interval / steps)


def _require_within(dynamics: ReducedDynamics, starts: Float[np.ndarray, "N d"]) -> None:
    cell = dynamics.grid.cell(starts)
    outside = (cell < 0) | ~dynamics.region[cell]
    if outside.any():
        raise PhysicsError(
            f"{np.count_nonzero(outside)} of the starts, {starts[outside][0]} the first, lie where nothing was sampled",
            where="reduced dynamics",
            remedy="Start within the sampled range.",
        )


@partial(jax.jit, static_argnames=("saves", "shape", "periodic"))
def _run(key, starts, tables, frame, step_size, steps, saves, shape, periodic):
    """Saved positions `(N, saves, d)` of all trajectories."""
    move = jax.vmap(lambda z, noise: _step(z, noise, tables, frame, step_size, shape, periodic))

    def advance(_, state):
        key, z = state
        key, subkey = jax.random.split(key)
        return key, move(z, jax.random.normal(subkey, z.shape, z.dtype))

    def save(state, _):
        state = jax.lax.fori_loop(0, steps, advance, state)
        return state, state[1]

    _, z = jax.lax.scan(save, (key, starts), length=saves)
    return jnp.swapaxes(z, 0, 1)


def _step(z: Float[Array, "d"], noise: Float[Array, "d"], tables, frame, step_size, shape, periodic):
    """One step of one trajectory; it keeps its place where the step would leave the region."""
    drift, factor, region = tables
    lower, spacing, low_wall, high_wall = frame
    position = (z - lower) / spacing
    b = _interpolate(drift, position, shape, periodic)
    s = _interpolate(factor, position, shape, periodic)
    moved = z + b * step_size + jnp.sqrt(step_size) * (s @ noise)
    moved = jnp.where(jnp.array(periodic), _wrap(moved, lower, spacing, shape), _mirror(moved, low_wall, high_wall))
    cell = jnp.clip(jnp.floor((moved - lower) / spacing).astype(int), 0, jnp.array(shape) - 1)
    return jnp.where(region[_flat(list(cell), shape)], moved, z)


def _wrap(z, lower, spacing, shape):
    return lower + jnp.mod(z - lower, spacing * jnp.array(shape, z.dtype))


def _mirror(z, lower, upper):
    width = upper - lower
    folded = jnp.mod(z - lower, 2 * width)
    return lower + jnp.minimum(folded, 2 * width - folded)


def _interpolate(values: Float[Array, "n ..."], position: Float[Array, "d"], shape, periodic):
    """Multilinear between the centres of the cells; constant in the last half cell before an end."""
    position = position - 0.5
    base = jnp.floor(position)
    fraction, base = position - base, base.astype(int)
    total = jnp.zeros_like(values[0])
    for corner in itertools.product((0, 1), repeat=len(shape)):
        index, weight = [], 1.0
        for a, step in enumerate(corner):
            moved = base[a] + step
            index.append(moved % shape[a] if periodic[a] else jnp.clip(moved, 0, shape[a] - 1))
            weight = weight * (fraction[a] if step else 1 - fraction[a])
        total = total + weight * values[_flat(index, shape)]
    return total


def _flat(index: list, shape: tuple[int, ...]):
    """The number of the cell with this index, the last dimension fastest."""
    number = index[0]
    for position, count in zip(index[1:], shape[1:], strict=True):
        number = number * count + position
    return number


def _nearest_within(grid: Grid, region: Bool[np.ndarray, "n"]) -> np.ndarray:
    """For each cell the number of the nearest cell of the region, `(n,)`."""
    found = ndimage.distance_transform_edt(~region.reshape(grid.shape), return_distances=False, return_indices=True)
    index = np.asarray(found).reshape(len(grid.shape), -1)
    return np.asarray(np.ravel_multi_index(tuple(index), grid.shape))


def _positive_definite(diffusion: Float[np.ndarray, "n d d"]) -> Float[np.ndarray, "n d d"]:
    """The symmetric part with its eigenvalues raised to the floor."""
    eigenvalues, vectors = np.linalg.eigh((diffusion + np.swapaxes(diffusion, 1, 2)) / 2)
    typical = np.median(np.abs(eigenvalues)) or 1.0
    raised = np.maximum(eigenvalues, SMALLEST_EIGENVALUE * typical)
    return np.einsum("nab,nb,ncb->nac", vectors, raised, vectors)
