r"""The closure as smooth differentiable functions of z, with standard errors.

The drift is $b_a(z) = \sum_p \theta_{ap} B_p(z)$. The diffusion is $D = LL^T$ with L lower triangular, the logarithms
of its diagonal and its other elements each such a sum: D is positive definite everywhere. Coefficients minimise
$(y - B\theta)^T\Sigma^{-1}(y - B\theta) + \lambda\theta^T P\theta$ for each component. Σ is known: the standard errors
of the table, and the correlation of neighbouring cells that share samples, that of Epanechnikov kernels of `overlap`
cells about each. So λ is the one of greatest marginal likelihood with θ normal of precision λP (P. Green and
B. Silverman, "Nonparametric regression and generalized linear models", 1994; S. Wood, J. R. Stat. Soc. B 73, 3, 2011).
The standard errors are those of the posterior, $(B^T\Sigma^{-1}B + \lambda P)^{-1}$: they hold what smoothing does to
the mean, on average over z (D. Nychka, J. Am. Stat. Assoc. 83, 1134, 1988).

L is fitted by Gauss and Newton's iteration on D itself: a cell whose D is negative by chance weighs as it should, where
its logarithm would have no value and that of noisy cells a biased one.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import linalg

from micromacro.closures.basis import TensorBasis
from micromacro.closures.grid import grid_of_points
from micromacro.closures.table import ClosureTable
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.estimates.surface import Grid

LOG_PENALTIES = np.linspace(-12, 24, 73)
"""Candidates for log λ, each component's penalty first scaled to its data."""
SWEEPS = 12
SMALLEST_ERROR = 1e-6
"""Floor of a standard error, as a share of the largest magnitude of the component."""
UNSHARED = 0.05
"""Variance that each cell has to itself, beside that of samples it shares: the correlation is known to no better."""
BOUNDED_STEP = 1.0
"""Most that an element of the Cholesky parameters moves in a sweep, in units of its logarithm."""


@dataclass(frozen=True)
class SmoothSettings:
    """How a table is smoothed.

    **Arguments:**

    - `intervals`: of the spline along each axis; `None` takes 24 in one dimension, 12 in two and 6 in three.
    - `overlap`: half-width, in cells, of the kernel that made the table; 0 where cells share no samples.
    """

    intervals: int | None = None
    overlap: float = 1.0


SETTINGS = SmoothSettings()


class SmoothClosure(eqx.Module):
    r"""Drift and diffusion of $dz = b\,dt + \sqrt{2D}\,dW$ (Itô) as functions that JAX differentiates.

    Beyond an end of the range that is not periodic the drift goes on linearly and the diffusion stays as it is.

    **Arguments:**

    - `basis`: p functions of z.
    - `drift_coefficients`: `(d, p)`; `drift_spread`: `(d, p, p)`, factors C of their covariances $CC^T$.
    - `factor_coefficients`: `(k, p)` of the k = d (d + 1) / 2 elements of L, row by row; `factor_spread`: `(k, p, p)`.
    """

    basis: TensorBasis
    drift_coefficients: Float[Array, "d p"]
    drift_spread: Float[Array, "d p p"]
    factor_coefficients: Float[Array, "k p"]
    factor_spread: Float[Array, "k p p"]

    def drift(self, z: Float[Array, "d"]) -> Float[Array, "d"]:
        """The drift at z, in units of z per time."""
        end = self.basis.inside(z)
        value, beyond = jax.jvp(lambda point: self.drift_coefficients @ self.basis.functions(point), (end,), (z - end,))
        return value + beyond

    def diffusion(self, z: Float[Array, "d"]) -> Float[Array, "d d"]:
        """The diffusion at z, symmetric positive definite, in squared units of z per time."""
        return matrix_of(self.factor_coefficients @ self.basis(z))

    def drift_stderr(self, z: Float[Array, "d"]) -> Float[Array, "d"]:
        """The standard error of each component of b at z."""
        return jnp.linalg.norm(jnp.einsum("apq,p->aq", self.drift_spread, self.basis(z)), axis=1)

    def diffusion_stderr(self, z: Float[Array, "d"]) -> Float[Array, "d d"]:
        """The standard error of each element of D at z, to first order in those of L."""
        functions = self.basis(z)
        slope = jax.jacfwd(matrix_of)(self.factor_coefficients @ functions)
        variance = jnp.sum(jnp.einsum("kpq,p->kq", self.factor_spread, functions) ** 2, axis=1)
        return jnp.sqrt(jnp.einsum("abk,k->ab", slope**2, variance))

    def table(self, z: Float[np.ndarray, "n d"]) -> ClosureTable:
        """Values and standard errors at points, such as the centres of a grid."""
        drift, drift_stderr, diffusion, diffusion_stderr = (np.asarray(part) for part in _values(self, jnp.asarray(z)))
        return ClosureTable(z, drift, drift_stderr, diffusion, diffusion_stderr)


@eqx.filter_jit
def _values(closure: SmoothClosure, z: Float[Array, "n d"]) -> tuple[Array, Array, Array, Array]:
    """Drift, diffusion and the standard errors of each, in the order of the fields of a table."""
    functions = closure.drift, closure.drift_stderr, closure.diffusion, closure.diffusion_stderr
    return jax.lax.map(lambda point: tuple(function(point) for function in functions), z, batch_size=4096)


def matrix_of(elements: Float[Array, "k"]) -> Float[Array, "d d"]:
    """D of the elements of its Cholesky factor, row by row, those on the diagonal as logarithms."""
    d = int((2 * len(elements)) ** 0.5)
    rows, columns = np.tril_indices(d)
    diagonal = jnp.asarray(rows == columns)
    values = jnp.where(diagonal, jnp.exp(jnp.where(diagonal, elements, 0.0)), elements)
    factor = jnp.zeros((d, d), elements.dtype).at[rows, columns].set(values)
    return factor @ factor.T


def smooth_closure(table: ClosureTable, coarse: CoarseVariable, settings: SmoothSettings = SETTINGS) -> SmoothClosure:
    """Fit the table by smooth functions, each cell with the weight that its standard error gives it.

    Cells without a drift and a diffusion take no part: there the functions go on smoothly, with wide standard errors.

    **Raises:** `InputError` where fewer than four cells are known, or where `table` is on no grid of `coarse`.
    """
    grid, known = grid_of_points(coarse, table.z), table.finite
    if np.count_nonzero(known) < 4:
        raise InputError("the closure", "be known in at least four cells", int(np.count_nonzero(known)))
    default = {1: 24, 2: 12}.get(coarse.dimension, 6)
    basis = TensorBasis.over(coarse, tuple(min(settings.intervals or default, count) for count in grid.shape))
    problem = FitProblem.of(basis, grid, known, settings.overlap)
    drift = [problem.fit(*pair) for pair in zip(table.drift[known].T, table.drift_stderr[known].T, strict=True)]
    factor = _fit_factor(problem, table.diffusion[known], table.diffusion_stderr[known])
    return SmoothClosure(basis, *_stacked(drift), *_stacked(factor))


def _stacked(fits: list) -> tuple[Array, Array]:
    coefficients, spread = zip(*fits, strict=True)
    return jnp.asarray(np.stack(coefficients)), jnp.asarray(np.stack(spread))


@dataclass(frozen=True)
class FitProblem:
    """What the fits of all components share: B at the known cells, P, and the Cholesky factor of the correlation."""

    functions: Float[np.ndarray, "n p"]
    penalty: Float[np.ndarray, "p p"]
    correlation_factor: Float[np.ndarray, "n n"]

    @classmethod
    def of(cls, basis: TensorBasis, grid: Grid, known: np.ndarray, overlap: float) -> "FitProblem":
        """The problem of values at the known cells, whose errors neighbours share."""
        factor = np.linalg.cholesky(_correlation(grid, known, overlap))
        return cls(basis.matrix(grid.points[known]), basis.penalty(), factor)

    def fit(self, values: np.ndarray, stderr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients `(p,)` and a factor `(p, p)` of their covariance, at the likeliest penalty."""
        error = np.maximum(stderr, SMALLEST_ERROR * max(float(np.max(np.abs(values))), 1e-300))
        columns = np.column_stack([self.functions, values]) / error[:, None]
        whitened = linalg.solve_triangular(self.correlation_factor, columns, lower=True)
        return _penalised(whitened[:, :-1], whitened[:, -1], self.penalty)


def _correlation(grid: Grid, known: np.ndarray, overlap: float) -> Float[np.ndarray, "n n"]:
    """Of neighbouring cells' errors: the autocorrelation of an Epanechnikov kernel of `overlap` cells, `(n, n)`."""
    index = np.indices(grid.shape).reshape(len(grid.shape), -1).T[known]
    total = np.eye(len(index)) if overlap <= 0 else np.ones((len(index), len(index)))
    if overlap <= 0:
        return total
    for axis, count in enumerate(grid.shape):
        apart = np.abs(index[:, None, axis] - index[None, :, axis])
        apart = np.minimum(apart, count - apart) if grid.periodic[axis] else apart
        t = np.minimum(apart / overlap, 2.0)
        total *= (2 - t) ** 3 * (t**2 + 6 * t + 4) / 32
    return (total + UNSHARED * np.eye(len(index))) / (1 + UNSHARED)


def _penalised(
    design: Float[np.ndarray, "n p"], values: Float[np.ndarray, "n"], penalty: Float[np.ndarray, "p p"]
) -> tuple[Float[np.ndarray, "p"], Float[np.ndarray, "p p"]]:
    r"""The fit of greatest marginal likelihood for data of unit noise.

    With $G = B^T B + cP = LL^T$ and $L^{-1} cP L^{-T} = U s U^T$, every λ = c e^r has
    $B^T B + \lambda P = L U (1 + (e^r - 1) s) U^T L^T$: one decomposition serves all candidates.
    """
    information = design.T @ design
    scaled = penalty * np.trace(information) / np.trace(penalty)
    lower = np.linalg.cholesky(information + scaled)
    share, vectors = np.linalg.eigh(linalg.solve_triangular(lower, _right_solve(lower, scaled), lower=True))
    share = np.clip(share, 0.0, 1.0)
    penalised = share > 1e-10
    target = vectors.T @ linalg.solve_triangular(lower, design.T @ values, lower=True)

    def likelihood(log_penalty: float) -> float:
        precision = 1 + np.expm1(log_penalty) * share
        return float(penalised.sum() * log_penalty - np.log(precision).sum() + np.sum(target**2 / precision)) / 2

    best = max(LOG_PENALTIES, key=likelihood)
    precision = np.maximum(1 + np.expm1(best) * share, 1e-12)
    spread = linalg.solve_triangular(lower, vectors / np.sqrt(precision), lower=True, trans=1)
    return spread @ (target / np.sqrt(precision)), spread


def _right_solve(lower: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """$M L^{-T}$ for symmetric M."""
    return linalg.solve_triangular(lower, matrix, lower=True).T


@jax.jit
def _matrices_and_slopes(elements: Float[Array, "n k"]) -> tuple[Array, Array]:
    """D and its derivative by the elements of L, lower triangles only: `(n, k)` and `(n, k, k)`."""
    d = int((2 * elements.shape[1]) ** 0.5)
    rows, columns = np.tril_indices(d)

    def lower_triangle(one):
        return matrix_of(one)[rows, columns]

    return jax.vmap(lower_triangle)(elements), jax.vmap(jax.jacfwd(lower_triangle))(elements)


def _fit_factor(problem: FitProblem, diffusion: np.ndarray, stderr: np.ndarray) -> list:
    """Fits of the elements of L, by Gauss and Newton from a constant D."""
    rows, columns = np.tril_indices(diffusion.shape[1])
    observed, error = diffusion[:, rows, columns], stderr[:, rows, columns]
    error = np.maximum(error, SMALLEST_ERROR * np.abs(observed).max())
    elements = np.tile(_constant_elements(observed, error, rows, columns), (len(observed), 1))
    fits = []
    for _ in range(SWEEPS):
        matrices, slopes = (np.asarray(part) for part in _matrices_and_slopes(jnp.asarray(elements)))
        inverse = np.linalg.inv(slopes)
        move = np.einsum("nkl,nl->nk", inverse, observed - matrices)
        spread = np.sqrt(np.einsum("nkl,nl->nk", inverse**2, error**2))
        fits = [problem.fit(elements[:, k] + move[:, k], spread[:, k]) for k in range(len(rows))]
        found = np.stack([problem.functions @ coefficients for coefficients, _ in fits], axis=1)
        step = np.clip(found - elements, -BOUNDED_STEP, BOUNDED_STEP)
        elements = elements + step
        if np.max(np.abs(step)) < 1e-8:
            break
    return fits


def _constant_elements(observed: np.ndarray, error: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The elements of L of the weighted mean D, its eigenvalues raised to a thousandth of the largest."""
    mean = np.average(observed, axis=0, weights=1 / error**2)
    matrix = np.zeros((rows.max() + 1,) * 2)
    matrix[rows, columns] = matrix[columns, rows] = mean
    values, vectors = np.linalg.eigh(matrix)
    if not values[-1] > 0:
        raise InputError("the diffusion", "be positive", f"a weighted mean of {values[-1]:.3g}")
    factor = np.linalg.cholesky((vectors * np.maximum(values, 1e-3 * values[-1])) @ vectors.T)
    return np.where(rows == columns, np.log(np.diagonal(factor))[rows], factor[rows, columns])
