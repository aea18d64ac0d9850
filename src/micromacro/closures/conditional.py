r"""Conditional averages $E[g \mid \xi = z]$ on a grid, by local linear regression, with clustered standard errors.

At a grid point $z_i$ the samples within a few cells are fitted by $g \approx \beta_0 + \beta_1\cdot(z - z_i)$ with
weights $w_n K((z_n - z_i)/h)$, K the product Epanechnikov kernel; the estimate is $\beta_0$ (Fan, JASA 87, 998, 1992).
The linear term removes the bias of a sloped sampling density and that of a kernel cut off at the end of the range.
What remains is $h^2 g''/10$ per dimension. The estimate is linear in the samples, $\hat g_i = \sum_n l_n g_n$, so its
standard error follows from the summed influence $l_n (g_n - \hat g(z_n))$ of each cluster of correlated samples.
"""

import itertools
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from micromacro.closures.grid import lower_corner
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.estimates.surface import Grid

WIDENING = (1.0, 1.5, 2.0, 3.0, 4.0)
"""Half-widths that are tried in turn, in units of the first."""
OFF_CENTRE = 0.5
"""How far the mean of the samples may be from the grid point, in half-widths: beyond it is extrapolation."""


@dataclass(frozen=True)
class ConditionalAverages:
    """Averages of m quantities at n grid points; NaN where there were too few samples.

    **Arguments:**

    - `mean`, `stderr`: `(n, m)`.
    - `effective_samples`: `(n,)`, one over the sum of squared sample weights of the estimate.
    - `half_width`: `(n,)` of the kernel that was used, in cells.
    """

    mean: Float[np.ndarray, "n m"]
    stderr: Float[np.ndarray, "n m"]
    effective_samples: Float[np.ndarray, "n"]
    half_width: Float[np.ndarray, "n"]


@dataclass(frozen=True)
class LocalRequirements:
    """What a local estimate needs before it is believed.

    **Arguments:**

    - `half_width`: of the kernel, in cells; widened by up to `WIDENING[-1]` where there are too few samples.
    - `effective_samples`: at least so many.
    - `clusters`: at least so many independent ones.
    """

    half_width: float = 1.0
    effective_samples: float = 30.0
    clusters: int = 2


REQUIREMENTS = LocalRequirements()


@dataclass(frozen=True)
class _Binned:
    """Samples sorted by cell: those of padded cell c are `starts[c]:starts[c + 1]`.

    `offset` is `(n, d)`, from the centre of the own cell, in cells; `padding` cells lie beyond each end that is not
    periodic.
    """

    starts: Int[np.ndarray, "ends"]
    offset: Float[np.ndarray, "n d"]
    values: Float[np.ndarray, "n m"]
    weights: Float[np.ndarray, "n"]
    clusters: Int[np.ndarray, "n"]
    padding: Int[np.ndarray, "d"]
    padded_shape: tuple[int, ...]


def conditional_averages(
    coarse: CoarseVariable,
    grid: Grid,
    coarse_values: Float[np.ndarray, "n d"],
    values: Float[np.ndarray, "n m"],
    weights: Float[np.ndarray, "n"],
    clusters: Int[np.ndarray, "n"],
    requirements: LocalRequirements = REQUIREMENTS,
) -> ConditionalAverages:
    """Averages of `values` given ξ = each centre of `grid`.

    **Arguments:**

    - `coarse_values`: ξ of each sample, `(n, d)`.
    - `values`: what is averaged, `(n, m)`.
    - `weights`: `(n,)`, inversely proportional to the density of the samples in ξ.
    - `clusters`: `(n,)` integers, the walker of each sample. Different clusters are independent.

    The standard error is that of one standard deviation's coverage (68 %): with few clusters it is widened by the
    quantile of Student's t.
    """
    _require_finite(coarse_values, values, weights)
    binned = _bin(coarse, grid, coarse_values, values, weights, clusters, requirements)
    result = [_at_cell(grid, binned, index, requirements) for index in np.ndindex(*grid.shape)]
    mean, stderr, effective, width = (np.array(column) for column in zip(*result, strict=True))
    return ConditionalAverages(mean, stderr, effective, width)


def _require_finite(coarse_values, values, weights):
    for name, array in (("coarse_values", coarse_values), ("values", values), ("weights", weights)):
        bad = int(np.count_nonzero(~np.isfinite(array)))
        if bad:
            raise InputError(name, "be finite", f"{bad} that are not")
    if np.any(weights < 0):
        raise InputError("weights", "not be negative", f"{np.min(weights)}")


def _bin(coarse, grid, coarse_values, values, weights, clusters, requirements) -> _Binned:
    """Sort the samples by cell and measure each from the centre of its own cell."""
    counts, periodic = np.asarray(grid.shape), np.asarray(grid.periodic)
    padding = np.where(periodic, 0, int(np.ceil(requirements.half_width * WIDENING[-1])))
    cell = np.floor((coarse_values - lower_corner(grid)) / grid.spacing).astype(int)
    cell = np.where(periodic, cell % counts, cell)
    centre = lower_corner(grid) + (cell + 0.5) * grid.spacing
    offset = np.asarray(coarse.difference(jnp.asarray(coarse_values), jnp.asarray(centre))) / grid.spacing
    padded_shape = tuple(int(count) for count in counts + 2 * padding)
    near = np.flatnonzero(np.all((cell + padding >= 0) & (cell + padding < padded_shape), axis=1))
    flat = np.ravel_multi_index(tuple((cell[near] + padding).T), padded_shape)
    order = near[np.argsort(flat, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=int(np.prod(padded_shape))))])
    cluster = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return _Binned(
        starts,
        offset[order],
        np.asarray(values, float)[order],
        np.asarray(weights, float)[order],
        cluster[order],
        padding,
        padded_shape,
    )


def _at_cell(grid: Grid, binned: _Binned, index: tuple[int, ...], requirements: LocalRequirements):
    """Mean, standard error `(m,)`, effective samples and half-width at one grid point: the narrowest that suffices."""
    for factor in WIDENING:
        half_width = factor * requirements.half_width
        delta, values, weights, clusters = _neighbourhood(grid, binned, index, half_width)
        found = _local_linear(delta, values, weights, clusters, half_width, requirements)
        if found is not None:
            return *found, half_width
    nothing = np.full(binned.values.shape[1], np.nan)
    return nothing, nothing, 0.0, np.nan


def _neighbourhood(grid: Grid, binned: _Binned, index: tuple[int, ...], half_width: float):
    """The samples of all cells that the kernel at `index` touches, and their distance from its centre in cells."""
    reach = int(np.ceil(half_width - 0.5))
    reaches = [
        min(reach, (count - 1) // 2) if periodic else reach
        for count, periodic in zip(grid.shape, grid.periodic, strict=True)
    ]
    parts, deltas = [], []
    for shift in itertools.product(*(range(-reach, reach + 1) for reach in reaches)):
        cell = np.asarray(index) + shift
        cell = np.where(grid.periodic, cell % np.asarray(grid.shape), cell + binned.padding)
        flat = np.ravel_multi_index(tuple(cell), binned.padded_shape)
        part = slice(binned.starts[flat], binned.starts[flat + 1])
        parts.append(part)
        deltas.append(binned.offset[part] + shift)
    columns = (binned.values, binned.weights, binned.clusters)
    return np.concatenate(deltas), *(np.concatenate([column[part] for part in parts]) for column in columns)


def _local_linear(
    delta, values, weights, clusters, half_width: float, requirements: LocalRequirements
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """The intercept of the fit, its standard error and effective samples; `None` where the samples do not suffice."""
    scaled = delta / half_width
    kernel = weights * np.prod(np.clip(1 - scaled**2, 0, None), axis=1)
    used = kernel > 0
    if np.count_nonzero(used) <= scaled.shape[1] + 1:
        return None
    scaled, values, kernel = scaled[used], values[used], kernel[used] / np.sum(kernel)
    design = np.concatenate([np.ones((len(scaled), 1)), scaled], axis=1)
    moments = design.T @ (kernel[:, None] * design)
    off_centre = np.abs(moments[0, 1:]).max()
    if off_centre > OFF_CENTRE or np.linalg.cond(moments) > 1e6:
        return None
    inverse = np.linalg.inv(moments)
    sample_weight = kernel * (design @ inverse[0])
    effective = float(1 / np.sum(sample_weight**2))
    cluster = np.unique(clusters[used], return_inverse=True)[1]
    if effective < requirements.effective_samples or cluster.max() + 1 < requirements.clusters:
        return None
    coefficients = inverse @ (design.T @ (kernel[:, None] * values))
    influence = sample_weight[:, None] * (values - design @ coefficients)
    return coefficients[0], _clustered_stderr(influence, sample_weight, cluster), effective


def _clustered_stderr(
    influence: Float[np.ndarray, "n m"], sample_weight: Float[np.ndarray, "n"], cluster
) -> np.ndarray:
    r"""The standard error `(m,)` from the influence of each sample.

    With shares $a_c$ of the clusters, the sum of squared cluster influences falls short of the variance by
    $(\sum a^2 - 2\sum a^3 + (\sum a^2)^2) / \sum a^2$, which is $1 - 1/C$ for C equal clusters.
    """
    by_cluster = np.stack([np.bincount(cluster, column) for column in influence.T], axis=1)
    share = np.bincount(cluster, sample_weight)
    second, third = np.sum(share**2), np.sum(share**3)
    shortfall = (second - 2 * third + second**2) / second
    degrees = max(1 / second - 1, 1.0)
    student = stats.t.ppf(stats.norm.cdf(1), degrees)
    return student * np.sqrt(np.sum(by_cluster**2, axis=0) / max(shortfall, 1e-2))
