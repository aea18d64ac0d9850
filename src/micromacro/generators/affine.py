"""Location and scale given the condition, which generators need not learn: a conditional affine bijection."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.coordinates.space import Space, wrap
from micromacro.generators.elimination import solve_with_determinant

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
    - `attached`: `(Y, d)`, what a periodic coordinate advances by where the condition does: it is measured from there.
    - `period`: `(Y,)`, infinite where a coordinate is not periodic.
    - `condition`: where z lives.
    """

    anchors: Float[Array, "A d"]
    spacing: Float[Array, "d"]
    mean: Float[Array, "A Y"]
    slope: Float[Array, "A Y d"]
    factor: Float[Array, "A Y Y"]
    attached: Float[Array, "Y d"]
    period: Float[Array, "Y"]
    condition: Space = eqx.field(static=True)

    def location(self, z: Float[Array, "d"]) -> tuple[Float[Array, "Y"], Float[Array, "Y Y"]]:
        """μ(z) and L(z)."""
        delta = self.condition.difference(z, self.anchors).astype(z.dtype)
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
        residual = solve_with_determinant(factor, delta).solution if delta.size else delta
        return residual, -jnp.sum(jnp.log(jnp.diagonal(factor)))

    def decode(self, residual: Float[Array, "Y"], z: Float[Array, "d"]) -> Float[Array, "Y"]:
        """The state of a residual."""
        location, factor = self.location(z)
        return location.astype(float) + (factor @ residual).astype(float)


def fit_affine(
    q: Float[np.ndarray, "n Y"],
    z: Float[np.ndarray, "n d"],
    condition: Space,
    attached: Float[np.ndarray, "Y d"],
    offset: Float[np.ndarray, "Y"],
    period: Float[np.ndarray, "Y"],
) -> ConditionalAffine:
    """Fit location and scale given z by local linear regression at anchors that cover the range of `z`.

    **Arguments:**

    - `q`, `z`: pairs, all of one weight.
    - `offset`: where periodic coordinates are cut open: half a period away from here.
    """
    shifted = offset + np.asarray(wrap(jnp.asarray(q - z @ attached.T - offset), period))
    anchors, spacing = _anchors(z, condition)
    fits = [_local_fit(shifted, np.asarray(condition.difference(z, anchor)), spacing) for anchor in anchors]
    mean, slope, factor = (np.stack(part) for part in zip(*fits, strict=True))
    single = [jnp.asarray(part, jnp.float32) for part in (anchors, spacing, mean, slope, factor, attached, period)]
    return ConditionalAffine(*single, condition=condition)


def untrained_affine(dimension: int, condition: Space) -> ConditionalAffine:
    """One of the same structure that holds nothing yet."""
    d, y, count = condition.dimension, dimension, _per_dimension(condition) ** condition.dimension
    shapes = (count, d), (d,), (count, y), (count, y, d), (count, y, y), (y, d), (y,)
    return ConditionalAffine(*(jnp.zeros(shape, jnp.float32) for shape in shapes), condition=condition)


def _per_dimension(condition: Space) -> int:
    return PER_DIMENSION.get(condition.dimension, 6 if condition.dimension == 3 else 3)


def _anchors(z: np.ndarray, condition: Space) -> tuple[np.ndarray, np.ndarray]:
    count = _per_dimension(condition)
    periodic = np.asarray(condition.periodic)
    low = np.where(periodic, condition.lower, z.min(axis=0))
    high = np.where(periodic, condition.upper, np.maximum(z.max(axis=0), low + 1e-9 * (1 + np.abs(low))))
    axes = [np.linspace(a, b, count, endpoint=not wraps) for a, b, wraps in zip(low, high, periodic, strict=True)]
    spacing = (high - low) / np.where(periodic, count, count - 1)
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, condition.dimension), spacing


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
