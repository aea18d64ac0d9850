r"""The gradient of a free energy surface, and fields that vary as its errors do.

At every known cell a polynomial of third degree is fitted to the cells around it, with Epanechnikov weights over the
variances (local polynomials: J. Fan and I. Gijbels, 1996); its slope is that of F to fourth order in the width of the
kernel. It is linear in F, so its standard error follows from the covariance of F. Of that a surface holds the diagonal
alone: the part that neighbouring cells do not share shows in the residuals, and what is left is taken to be shared over
a kernel's width, the shortest distance at which the residuals would not show it.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter1d

from micromacro.errors import InputError
from micromacro.estimates.surface import FreeEnergySurface, Grid

DEGREE = 3
CELLS_PER_KERNEL, NARROWEST = 27, 3.0
"""The half-width of the kernel is this share of the cells of an axis, and at least so many cells."""
WORST_CONDITION = 1e6


@dataclass(frozen=True)
class SurfaceGradient:
    """The gradient of F in kT per unit of z.

    **Arguments:**

    - `gradient`, `stderr`: `(n, d)`; NaN where F or too much around it is unknown.
    - `own_share`: of the variance of F that each cell has to itself; above 1 where the residuals exceed the errors.
    - `half_width`: of the kernel along each axis, in cells `(d,)`.
    """

    gradient: Float[np.ndarray, "n d"]
    stderr: Float[np.ndarray, "n d"]
    own_share: float
    half_width: Float[np.ndarray, "d"]


def surface_gradient(surface: FreeEnergySurface, half_width: float | None = None) -> SurfaceGradient:
    """The gradient at the centres of all cells; `half_width` of the kernel in cells, by default as the grid asks.

    **Raises:** `InputError` where F is known nowhere, or its standard errors are not known where it is.
    """
    known = np.isfinite(surface.free_energy)
    if not known.any():
        raise InputError("the free energy", "be known somewhere", "nothing but unknown cells")
    if not np.all(surface.stderr[known] > 0):
        raise InputError("the standard errors of the free energy", "be positive where it is known", "some that are not")
    widths = np.array([half_width or max(NARROWEST, count / CELLS_PER_KERNEL) for count in surface.grid.shape])
    offsets = _offsets(surface.grid, widths)
    filters, own = _filters(surface, offsets, widths)
    cells, there = _neighbourhood(surface.grid, offsets, known)
    values = np.where(there, surface.free_energy[cells], 0.0)
    errors = np.where(there, surface.stderr[cells], 0.0)
    scale = _own_share(np.sum(filters[:, :, 0] * values, axis=1) - surface.free_energy, filters, own, errors, known)
    weighted = filters[:, :, 1:] * errors[:, :, None]
    shared = np.einsum("nia,ij,nja->na", weighted, _correlation(offsets, widths), weighted)
    variance = scale * np.sum(weighted**2, axis=1) + max(1 - scale, 0.0) * np.maximum(shared, 0)
    gradient = np.einsum("nia,ni->na", filters[:, :, 1:], values) / surface.grid.spacing
    return SurfaceGradient(gradient, np.sqrt(variance) / surface.grid.spacing, scale, widths)


def _offsets(grid: Grid, widths: Float[np.ndarray, "d"]) -> Int[np.ndarray, "m d"]:
    """Of the cells within the kernel, no further round a circle than half of it."""
    reaches = [
        min(int(np.ceil(width)) - 1, (count - 1) // 2 if periodic else count)
        for width, count, periodic in zip(widths, grid.shape, grid.periodic, strict=True)
    ]
    return np.array(list(itertools.product(*(range(-reach, reach + 1) for reach in reaches))))


def _neighbourhood(grid: Grid, offsets: Int[np.ndarray, "m d"], known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each cell the numbers of those at the offsets `(n, m)` and whether they are there and known."""
    counts, wraps = np.asarray(grid.shape), np.asarray(grid.periodic)
    index = np.indices(grid.shape).reshape(len(counts), -1).T[:, None] + offsets
    inside = np.all(wraps | ((index >= 0) & (index < counts)), axis=2)
    cells = np.asarray(np.ravel_multi_index(tuple(np.moveaxis(np.mod(index, counts), 2, 0)), grid.shape))
    return cells, inside & known[cells]


def _filters(
    surface: FreeEnergySurface, offsets: Int[np.ndarray, "m d"], widths: Float[np.ndarray, "d"]
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the neighbours in the value and the slopes `(n, m, 1 + d)`; of the cell itself in its value `(n,)`.

    Where the cells around do not determine a cubic, a straight line; NaN where not even that.
    """
    known = np.isfinite(surface.free_energy)
    cells, there = _neighbourhood(surface.grid, offsets, known)
    kernel = np.prod(1 - (offsets / widths) ** 2, axis=1)
    relative = np.where(known, surface.stderr, 1.0) / np.median(surface.stderr[known])
    weight = np.where(there & known[:, None], kernel / relative[cells] ** 2, 0.0)
    d = offsets.shape[1]
    result = np.full((len(known), len(offsets), 1 + d), np.nan)
    for degree in (1, DEGREE):
        design = _monomials(offsets / widths, degree)
        normal = np.einsum("nm,mp,mq->npq", weight, design, design)
        usable = (np.count_nonzero(weight, axis=1) > design.shape[1]) & (np.linalg.cond(normal) < WORST_CONDITION)
        inverse = np.linalg.inv(normal[usable])[:, : 1 + d]
        result[usable] = np.einsum("nap,mp,nm->nma", inverse, design, weight[usable])
    result[:, :, 1:] /= widths
    return result, result[:, np.flatnonzero(~np.any(offsets, axis=1))[0], 0]


def _monomials(u: Float[np.ndarray, "m d"], degree: int) -> Float[np.ndarray, "m p"]:
    """Products of powers of total degree up to `degree`: the constant first, then the components in order."""
    d = u.shape[1]
    powers = [power for power in itertools.product(range(degree + 1), repeat=d) if sum(power) <= degree]
    powers.sort(key=lambda power: (sum(power), [-one for one in power]))
    return np.stack([np.prod(u ** np.array(power), axis=1) for power in powers], axis=1)


def _own_share(residual, filters, own, errors, known) -> float:
    """Mean square of the residuals over what errors of cells independent of one another would leave."""
    variance = np.sum((filters[:, :, 0] * errors) ** 2, axis=1)
    itself = np.where(known, errors[:, filters.shape[1] // 2], np.nan) ** 2
    expected = variance + itself * (1 - 2 * own)
    usable = np.isfinite(expected) & np.isfinite(residual) & (expected > 0.1 * itself)
    return float(np.mean(residual[usable] ** 2 / expected[usable])) if usable.any() else 1.0


def _correlation(offsets: Int[np.ndarray, "m d"], widths: Float[np.ndarray, "d"]) -> Float[np.ndarray, "m m"]:
    """Of the shared errors of two cells: Gaussian in their distance, of a kernel's half-width."""
    apart = (offsets[:, None] - offsets[None]) / widths
    return np.exp(-0.5 * np.sum(apart**2, axis=2))


def error_fields(
    surface: FreeEnergySurface, gradient: SurfaceGradient, count: int, rng: np.random.Generator
) -> Float[np.ndarray, "count n"]:
    """Errors of F drawn as they are thought to be: partly each cell's own, partly shared by its neighbours."""
    white = rng.standard_normal((count, *surface.grid.shape))
    smooth = rng.standard_normal((count, *surface.grid.shape))
    for axis, (cells, periodic) in enumerate(zip(surface.grid.shape, surface.grid.periodic, strict=True)):
        mode = "wrap" if periodic else "nearest"
        # white noise smoothed by a Gaussian is correlated over sqrt(2) of its width
        kernel = gaussian_filter1d(np.eye(cells), gradient.half_width[axis] / np.sqrt(2), axis=0, mode=mode)
        kernel /= np.linalg.norm(kernel, axis=1, keepdims=True)
        smooth = np.moveaxis(np.tensordot(kernel, smooth, axes=(1, axis + 1)), 0, axis + 1)
    own = gradient.own_share
    field = np.sqrt(own) * white + np.sqrt(max(1 - own, 0.0)) * smooth
    return field.reshape(count, -1) * surface.stderr
