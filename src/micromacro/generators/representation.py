"""What a generator learns instead of the raw state: the residual after location and scale given z are removed."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.generators.elimination import solve_with_determinant

SUBSAMPLE = 40_000
PER_DIMENSION = {1: 32, 2: 12}


class ConditionalAffine(eqx.Module):
    r"""The bijection $r = L(z)^{-1} (q - \mu(z))$, with μ and L smooth in z.

    The width of a window and stiff directions are taken out before any network sees the data: what is left has unit
    scale in every direction at every z. μ and L are mixtures, with Gaussian weights in z, of local linear fits at
    anchors; a mixture of lower triangular factors with positive diagonals is one again, so the map is always
    invertible.

    **Arguments:**

    - `anchors`: `(A, d)`; `spacing`: their distance, `(d,)`.
    - `mean`: `(A, Y)`; `slope`: of the mean in z, `(A, Y, d)`; `factor`: lower triangular `(A, Y, Y)`.
    - `attached`: `(Y, d)`, one where a periodic coordinate *is* a coarse variable: it is measured from z.
    - `period`: `(Y,)`, infinite where a coordinate is not periodic.
    """

    anchors: Float[Array, "A d"]
    spacing: Float[Array, "d"]
    mean: Float[Array, "A Y"]
    slope: Float[Array, "A Y d"]
    factor: Float[Array, "A Y Y"]
    attached: Float[Array, "Y d"]
    period: Float[Array, "Y"]
    coarse: CoarseVariable = eqx.field(static=True)

    def location(self, z: Float[Array, "d"]) -> tuple[Float[Array, "Y"], Float[Array, "Y Y"]]:
        """μ(z) and L(z)."""
        delta = self.coarse.difference(z, self.anchors).astype(z.dtype)
        exponent = -0.5 * jnp.sum((delta / self.spacing) ** 2, axis=1)
        weight = jnp.exp(exponent - jnp.max(exponent))
        weight = weight / jnp.sum(weight)
        mean = weight @ (self.mean + jnp.einsum("ayd,ad->ay", self.slope, delta))
        return mean + self.attached @ z, jnp.einsum("a,ayx->yx", weight, self.factor)

    def encode(self, q: Float[Array, "Y"], z: Float[Array, "d"]) -> tuple[Float[Array, "Y"], Float[Array, ""]]:
        """The residual `(Y,)` of a state and the log-determinant of the encoding."""
        location, factor = self.location(z)
        # the difference is taken in the precision of q: a narrow window far from zero would drown in rounding
        delta = wrap(q - location, self.period).astype(factor.dtype)
        residual = solve_with_determinant(factor, delta).solution
        return residual, -jnp.sum(jnp.log(jnp.diagonal(factor)))

    def decode(self, residual: Float[Array, "Y"], z: Float[Array, "d"]) -> Float[Array, "Y"]:
        """The state of a residual."""
        location, factor = self.location(z)
        return location.astype(float) + (factor @ residual).astype(float)


def wrap(delta: Array, period: Array) -> Array:
    """Differences by the shortest way round where the period is finite."""
    finite = jnp.isfinite(period)
    safe = jnp.where(finite, period, 1.0)
    return jnp.where(finite, delta - safe * jnp.round(delta / safe), delta)


def fit_affine(
    q: Float[np.ndarray, "n Y"],
    z: Float[np.ndarray, "n d"],
    weight: Float[np.ndarray, "n"],
    coarse: CoarseVariable,
    attached: Float[np.ndarray, "Y d"],
    period: Float[np.ndarray, "Y"],
    rng: np.random.Generator,
) -> ConditionalAffine:
    """Fit location and scale given z by local linear regression at anchors that cover the range of `z`."""
    pick = rng.choice(len(q), min(len(q), SUBSAMPLE), p=weight / weight.sum())
    q, z = q[pick], z[pick]
    shifted = np.asarray(wrap(jnp.asarray(q - z @ attached.T), jnp.asarray(period)))
    anchors, spacing = _anchors(z, coarse)
    fits = [_local_fit(shifted, np.asarray(coarse.difference(z, anchor)), spacing) for anchor in anchors]
    mean, slope, factor = (np.stack(part) for part in zip(*fits, strict=True))
    single = [jnp.asarray(part, jnp.float32) for part in (anchors, spacing, mean, slope, factor, attached, period)]
    return ConditionalAffine(*single, coarse=coarse)


def _anchors(z: np.ndarray, coarse: CoarseVariable) -> tuple[np.ndarray, np.ndarray]:
    count = PER_DIMENSION.get(coarse.dimension, 6)
    periodic = np.asarray(coarse.periodic)
    low = np.where(periodic, coarse.lower, z.min(axis=0))
    high = np.where(periodic, coarse.upper, z.max(axis=0))
    axes = [np.linspace(a, b, count, endpoint=not wraps) for a, b, wraps in zip(low, high, periodic, strict=True)]
    spacing = (high - low) / np.where(periodic, count, count - 1)
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, coarse.dimension), spacing


def _local_fit(q: np.ndarray, delta: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    dimension, width = q.shape[1], spacing * 0.7
    enough = 20 * (dimension + delta.shape[1] + 1)
    distance = np.sum((delta / width) ** 2, axis=1)
    # far from all data the kernel widens until it holds enough of them
    scale = max(1.0, float(np.partition(distance, min(enough, len(q) - 1))[min(enough, len(q) - 1)]) / 2)
    weight = np.exp(-0.5 * distance / scale)
    near = weight > 1e-6
    q, delta, weight = q[near], delta[near], weight[near] / weight[near].sum()
    design = np.concatenate([np.ones((len(q), 1)), delta / spacing], axis=1)
    normal = design.T @ (weight[:, None] * design) + 1e-6 * np.eye(design.shape[1])
    solution = np.linalg.solve(normal, design.T @ (weight[:, None] * q))
    residual = q - design @ solution
    covariance = residual.T @ (weight[:, None] * residual)
    ridge = 1e-4 * np.diag(np.diag(covariance)) + 1e-12 * np.eye(dimension)
    return solution[0], (solution[1:] / spacing[:, None]).T, np.linalg.cholesky(covariance + ridge)
