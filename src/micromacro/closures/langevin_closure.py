r"""The closure of molecules under Langevin dynamics: D from umbrella windows, $b = -D\nabla F/kT + \nabla\cdot D$.

A coarse variable of positions alone has no diffusion at lag zero, for positions move smoothly under inertial dynamics:
the projection formulas are trivial. Beyond the time in which velocities forget, z diffuses with the D of
`umbrella_diffusion`, and detailed balance leaves one drift, that whose stationary density is exp(-F/kT).

D is smooth in z: the elements of its Cholesky factor, logarithms on the diagonal, are splines of greatest marginal
likelihood (`smooth`). Each window tells the mean of friction over its width, $\langle D^{-1}\rangle^{-1}$, and is
fitted as that, not as D at its centre.

Drift and diffusion are wrong together: b/D = -F'/kT + ... holds whatever D is. Errors drawn for each by itself
(`spread`) would tilt the free energy, so that times across a barrier get errors far too large; `langevin_spread` draws
D and F, and makes b of them.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from micromacro.closures.basis import TensorBasis
from micromacro.closures.langevin_gradient import error_fields, surface_gradient
from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.smooth import FitProblem, matrix_of
from micromacro.closures.spread import Spread
from micromacro.closures.table import ClosureTable
from micromacro.closures.umbrella_diffusion import UmbrellaDiffusion
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.estimates.surface import FreeEnergySurface

FEWEST_WINDOWS = 4
NODES = 3
"""Of the quadrature over a window, along each axis."""
SWEEPS = 3
"""Corrections for what the mean over a window does to D."""


class DiffusionFit(eqx.Module):
    """D as a smooth function of z, with standard errors.

    **Arguments:**

    - `basis`: p functions of z.
    - `coefficients`: `(k, p)` of the k = d (d + 1) / 2 elements of the Cholesky factor, row by row.
    - `spread`: `(k, p, p)`, factors C of their covariances C Cᵀ.
    """

    basis: TensorBasis
    coefficients: Float[Array, "k p"]
    spread: Float[Array, "k p p"]

    def __call__(self, z: Float[Array, "d"]) -> Float[Array, "d d"]:
        """D at z, symmetric positive definite."""
        return matrix_of(self.coefficients @ self.basis(z))

    def drawn(self, rng: np.random.Generator) -> "DiffusionFit":
        """The same with coefficients drawn within their errors."""
        noise = rng.standard_normal(self.coefficients.shape)
        moved = self.coefficients + jnp.einsum("kpq,kq->kp", self.spread, noise)
        return DiffusionFit(self.basis, moved, self.spread)


def fit_diffusion(coarse: CoarseVariable, diffusion: UmbrellaDiffusion) -> DiffusionFit:
    """D through the windows that converged.

    **Raises:** `InputError` where fewer than four did.
    """
    used = np.flatnonzero(diffusion.converged)
    if len(used) < FEWEST_WINDOWS:
        first = next((reason for reason in diffusion.reasons if reason), "there are no more")
        raise InputError("the diffusion", f"be known in at least {FEWEST_WINDOWS} windows", len(used), remedy=first)
    d = coarse.dimension
    along = int(np.clip(np.ceil(len(used) ** (1 / d)), 4, {1: 24, 2: 12}.get(d, 6)))
    basis = TensorBasis.over(coarse, (along,) * d)
    points, weights = _window_quadrature(coarse, diffusion.mean[used], diffusion.covariance[used])
    functions = basis.matrix(points.reshape(-1, d)).reshape(*points.shape[:2], -1)
    problem = FitProblem(np.einsum("q,nqp->np", weights, functions), basis.penalty(), np.eye(len(used)))
    measured, errors = diffusion.elements[used], diffusion.elements_stderr[used]
    fits, correction = [], np.zeros_like(measured)
    for _ in range(SWEEPS):
        fits = [problem.fit(*pair) for pair in zip((measured + correction).T, errors.T, strict=True)]
        inside = np.einsum("nqp,kp->nqk", functions, np.stack([coefficients for coefficients, _ in fits]))
        correction = np.einsum("q,nqk->nk", weights, inside) - _elements_of_mean_friction(inside, weights)
    coefficients, spread = zip(*fits, strict=True)
    return DiffusionFit(basis, jnp.asarray(np.stack(coefficients)), jnp.asarray(np.stack(spread)))


def _window_quadrature(coarse: CoarseVariable, mean: np.ndarray, covariance: np.ndarray):
    """Points `(windows, q, d)` and weights `(q,)` that integrate over each window as a Gaussian."""
    node, weight = np.polynomial.hermite_e.hermegauss(NODES)
    d = mean.shape[1]
    nodes = np.stack(np.meshgrid(*(node,) * d, indexing="ij"), -1).reshape(-1, d)
    weights = np.prod(np.stack(np.meshgrid(*(weight,) * d, indexing="ij"), -1).reshape(-1, d), axis=1)
    points = mean[:, None] + np.einsum("nab,qb->nqa", np.linalg.cholesky(covariance), nodes)
    return np.asarray(coarse.wrap(points)), weights / weights.sum()


def _elements_of_mean_friction(elements: Float[np.ndarray, "n q k"], weights: np.ndarray) -> Float[np.ndarray, "n k"]:
    """The elements of the inverse of the mean inverse of D over each window."""
    matrices = np.asarray(_matrices(jnp.asarray(elements)))
    mean = np.linalg.inv(np.einsum("q,nqab->nab", weights, np.linalg.inv(matrices)))
    rows, columns = np.tril_indices(mean.shape[1])
    factors = np.linalg.cholesky(mean)[:, rows, columns]
    return np.where(rows == columns, np.log(np.abs(factors)), factors)


@jax.jit
def _matrices(elements: Float[Array, "n q k"]) -> Float[Array, "n q d d"]:
    return jax.vmap(jax.vmap(matrix_of))(elements)


def langevin_closure(surface: FreeEnergySurface, fit: DiffusionFit) -> ClosureTable:
    """The table on the grid of `surface`, F in kT; NaN where F is unknown, or too much around it.

    Standard errors hold those of D, and of the gradient of F.
    """
    slope = surface_gradient(surface)
    drift, stderr, diffusion, diffusion_stderr = (
        np.asarray(part) for part in _terms(fit, jnp.asarray(surface.grid.points), jnp.asarray(slope.gradient))
    )
    stderr = np.sqrt(stderr**2 + np.einsum("nab,nb->na", diffusion**2, slope.stderr**2))
    unknown = np.asarray(~np.isfinite(drift).all(axis=1))
    return ClosureTable(
        z=surface.grid.points,
        drift=_without(unknown, drift),
        drift_stderr=_without(unknown, stderr),
        diffusion=_without(unknown, diffusion),
        diffusion_stderr=_without(unknown, diffusion_stderr),
    )


def _without(unknown: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(unknown.reshape(-1, *(1,) * (values.ndim - 1)), np.nan, values)


@eqx.filter_jit
def _terms(fit: DiffusionFit, z: Float[Array, "n d"], gradient: Float[Array, "n d"]) -> tuple[Array, ...]:
    """Drift and diffusion at each point, each followed by the standard error that D gives to it."""

    def one(pair: tuple[Array, Array]) -> tuple[Array, ...]:
        point, slope = pair
        functions, derivatives = fit.basis(point), jax.jacfwd(fit.basis)(point)
        elements, changes = fit.coefficients @ functions, fit.coefficients @ derivatives
        by_element, by_change = jax.jacfwd(_drift, argnums=(0, 1))(elements, changes, slope)
        own = jnp.einsum("p,kpq->kq", functions, fit.spread)
        along = jnp.einsum("pb,kpq->kbq", derivatives, fit.spread)
        drift_moves = jnp.einsum("ak,kq->akq", by_element, own) + jnp.einsum("akb,kbq->akq", by_change, along)
        matrix_moves = jnp.einsum("abk,kq->abkq", jax.jacfwd(matrix_of)(elements), own)
        drift_stderr, matrix_stderr = (jnp.linalg.norm(one, axis=(-2, -1)) for one in (drift_moves, matrix_moves))
        return _drift(elements, changes, slope), drift_stderr, matrix_of(elements), matrix_stderr

    return jax.lax.map(one, (z, gradient), batch_size=256)


def _drift(elements: Float[Array, "k"], changes: Float[Array, "k d"], slope: Float[Array, "d"]) -> Float[Array, "d"]:
    """B of the elements of the factor of D and their derivatives, `changes`, and of the gradient of F."""
    return jnp.einsum("abk,kb->a", jax.jacfwd(matrix_of)(elements), changes) - matrix_of(elements) @ slope


def langevin_spread(
    coarse: CoarseVariable,
    surface: FreeEnergySurface,
    fit: DiffusionFit,
    statistic: Callable[[ReducedDynamics], ArrayLike],
    *,
    replicas: int = 50,
    seed: int = 0,
) -> Spread:
    """A statistic of the reduced dynamics, such as passage times, and its standard error from those of F and D."""
    slope, rng = surface_gradient(surface), np.random.default_rng(seed)

    def of(table: ClosureTable) -> np.ndarray:
        return np.atleast_1d(np.asarray(statistic(ReducedDynamics.from_table(table, coarse)), float))

    value = of(langevin_closure(surface, fit))
    noise = error_fields(surface, slope, replicas, rng)
    draws = []
    for field in noise:
        moved = FreeEnergySurface(surface.grid, surface.free_energy + field, surface.stderr)
        draws.append(of(langevin_closure(moved, fit.drawn(rng))))
    with np.errstate(invalid="ignore"):  # a passage time may be infinite
        return Spread(value, np.std(draws, axis=0, ddof=1), np.stack(draws))
