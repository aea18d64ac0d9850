r"""The bias of on-the-fly probability enhanced sampling on a grid of the coarse variable, in kT.

$V(z) = (1 - 1/\gamma) \log(P(z)/Z + \epsilon)$ with $\gamma$ the barrier in kT and $\epsilon = e^{-\gamma/(1 -
1/\gamma)}$: P is the density of ξ without the bias, from frames that weigh $e^V$; Z is its mean over what was visited.
Source: Invernizzi & Parrinello, J. Phys. Chem. Lett. 11, 2731 (2020).
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter1d

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.table import Table, fit_table, padded_grid

POINTS = {1: 120, 2: 60}
POINTS_BEYOND = 24
PADDING_SHARE = 0.1
WALL_WIDTH = 0.02
WIDEST_KERNEL = 0.1


@dataclass(frozen=True)
class OpesBias:
    r"""The bias that the frames so far give.

    Kernels are as wide as Silverman's rule makes the spread of ξ in the narrowest known well for the effective number
    of frames, and one cell at least; at the ends of the range the density is mirrored.

    Beyond the range of a bounded component the bias stays what it is at the end, and a wall
    $\frac12 (z - z_{end})^2 / w^2$ rises on top, w being two per cent of the range; beyond a tenth of the range it goes
    on linearly. So walkers turn back where nothing is to be learned, whatever ξ does there.

    **Arguments:**

    - `histogram`: of the frames within the range, by weight $e^V$, `(n1, ..., nd)`.
    - `visited`: whether any frame was there, `(n1, ..., nd)`.
    - `squares`: the sum of squared weights.
    - `values`: the bias within the range, `(n1, ..., nd)`, walls left out.
    - `spread`: of ξ in the narrowest known well, `(d,)`.
    - `barrier`: in kT, what is filled at most.
    """

    coarse: CoarseVariable
    histogram: Float[np.ndarray, "..."]
    visited: Bool[np.ndarray, "..."]
    squares: float
    values: Float[np.ndarray, "..."]
    spread: Float[np.ndarray, "d"]
    barrier: float

    @classmethod
    def empty(cls, coarse: CoarseVariable, spread: Float[np.ndarray, "d"], barrier: float) -> "OpesBias":
        """No bias yet, and walls."""
        nothing = np.zeros(padded_grid(coarse, cells_per_dimension(coarse.dimension))[2])
        return cls(coarse, nothing, nothing > 0, 0.0, nothing, spread, barrier)

    @property
    def flattening(self) -> Table:
        """Minus the bias and its walls, as `Windows` want it."""
        points = len(self.values)
        padding = int(np.ceil(PADDING_SHARE * points))
        origin, spacing, shape = padded_grid(self.coarse, points, padding)
        widths = [(0, 0) if wraps else (padding, padding) for wraps in self.coarse.periodic]
        values = np.pad(self.values, widths, "edge")
        for axis, size in enumerate(shape):
            z = origin[axis] + spacing[axis] * np.arange(size)
            beyond = np.maximum(self.coarse.lower[axis] - z, z - self.coarse.upper[axis])
            wall = 0.5 * (np.maximum(beyond, 0.0) / (WALL_WIDTH * self.coarse.range[axis])) ** 2
            along = np.moveaxis(values, axis, -1)
            along += 0.0 if self.coarse.periodic[axis] else wall
        return fit_table(-values, origin, spacing, self.coarse.periodic)

    @property
    def kernel(self) -> Float[np.ndarray, "d"]:
        """The standard deviation of a kernel now, in cells."""
        size, spacing = self.coarse.dimension, self.coarse.range / len(self.values)
        effective = (1 + self.histogram.sum()) ** 2 / (1 + self.squares)
        shrunk = (effective * (size + 2) / 4) ** (-1 / (size + 4))
        return np.clip(self.spread * shrunk, spacing, WIDEST_KERNEL * self.coarse.range) / spacing

    def updated(self, z: Float[np.ndarray, "n d"], bias: Float[np.ndarray, "n"]) -> "OpesBias":
        """With more frames, saved at coarse values `z` under `bias` in kT."""
        inside = cell_of(self.coarse, z, len(self.values))
        kept = inside >= 0
        weight = np.exp(bias[kept])
        counted = np.bincount(inside[kept], weights=weight, minlength=self.values.size).reshape(self.values.shape)
        visited = self.visited | (counted > 0)
        found = replace(
            self,
            histogram=self.histogram + counted,
            visited=visited,
            squares=self.squares + float(np.sum(weight**2)),
        )
        return replace(found, values=found._renewed()) if visited.any() else self

    def _renewed(self) -> Float[np.ndarray, "..."]:
        density = self.histogram
        for axis, (width, periodic) in enumerate(zip(self.kernel, self.coarse.periodic, strict=True)):
            density = gaussian_filter1d(density, width, axis=axis, mode="wrap" if periodic else "reflect", truncate=6.0)
        tempering = 1 - 1 / self.barrier
        smallest = np.exp(-self.barrier / tempering)
        return tempering * np.log(density / density[self.visited].mean() + smallest)

    def change_from(self, earlier: "OpesBias") -> float:
        """The rms change over the cells that were visited before, in kT; infinite where there were none."""
        if not earlier.visited.any():
            return float("inf")
        return float(np.std((self.values - earlier.values)[earlier.visited]))


def cells_per_dimension(dimension: int) -> int:
    """Cells of the grid of a bias along each coarse variable."""
    return POINTS.get(dimension, POINTS_BEYOND)


def cell_of(coarse: CoarseVariable, z: Float[np.ndarray, "n d"], points: int) -> np.ndarray:
    """The flat index of the cell of each coarse value, `(n,)`; -1 beyond the range."""
    origin, spacing, shape = padded_grid(coarse, points)
    index = np.floor((z - origin) / spacing + 0.5).astype(np.int64)
    index = np.where(coarse.periodic, np.mod(index, shape), index)
    inside = np.all((index >= 0) & (index < np.asarray(shape)), axis=1)
    flat = np.ravel_multi_index(tuple(np.clip(index, 0, np.asarray(shape) - 1).T), shape)
    return np.where(inside, flat, -1)
