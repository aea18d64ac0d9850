r"""Cubic B-splines on a uniform mesh, one product over the axes: smooth functions of the coarse variable.

Along one axis the basis is $\beta(u - j)$ with $u = (z - z_0)/h$ and β the cardinal cubic spline, twice continuously
differentiable; on a circle the mesh closes upon itself. Roughness is the sum of squared second differences of the
coefficients along each axis (P. Eilers and B. Marx, Statist. Sci. 11, 89, 1996).
"""

from functools import reduce

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.coordinates.coarse import CoarseVariable

FEWEST_ON_A_CIRCLE = 4
"""A cubic spline spans four intervals: with fewer it would overlap itself."""


class TensorBasis(eqx.Module):
    """The product basis over the range of a coarse variable.

    **Arguments:**

    - `lower`, `upper`: ends of the range, `d` numbers.
    - `intervals`: how many along each axis.
    - `periodic`: `d` booleans.
    """

    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)
    intervals: tuple[int, ...] = eqx.field(static=True)
    periodic: tuple[bool, ...] = eqx.field(static=True)

    @classmethod
    def over(cls, coarse: CoarseVariable, intervals: tuple[int, ...]) -> "TensorBasis":
        """The basis over the range of `coarse`."""
        counts = tuple(
            max(FEWEST_ON_A_CIRCLE, count) if wraps else max(1, count)
            for count, wraps in zip(intervals, coarse.periodic, strict=True)
        )
        lower, upper = tuple(map(float, coarse.lower)), tuple(map(float, coarse.upper))
        return cls(lower, upper, counts, coarse.periodic)

    @property
    def counts(self) -> tuple[int, ...]:
        """Functions along each axis."""
        return tuple(n if wraps else n + 3 for n, wraps in zip(self.intervals, self.periodic, strict=True))

    @property
    def size(self) -> int:
        """How many functions there are."""
        return int(np.prod(self.counts))

    def inside(self, z: Float[Array, "d"]) -> Float[Array, "d"]:
        """The nearest point of the range: z itself along periodic axes."""
        return jnp.where(jnp.asarray(self.periodic), z, jnp.clip(z, jnp.asarray(self.lower), jnp.asarray(self.upper)))

    def __call__(self, z: Float[Array, "d"]) -> Float[Array, "p"]:
        """Every function at z, or at the nearest point of the range; the last axis runs fastest."""
        return self.functions(self.inside(z))

    def functions(self, z: Float[Array, "d"]) -> Float[Array, "p"]:
        """Every function at a point of the range, smooth across its ends."""
        axes = [self._axis(axis, z[axis]) for axis in range(len(self.intervals))]
        return reduce(lambda left, right: jnp.outer(left, right).reshape(-1), axes)

    def matrix(self, z: Float[Array | np.ndarray, "n d"]) -> Float[np.ndarray, "n p"]:
        """Every function at every point."""
        return np.asarray(_at_points(self, jnp.asarray(z)))

    def penalty(self) -> Float[np.ndarray, "p p"]:
        """The quadratic form of roughness in the coefficients."""
        total = np.zeros((self.size, self.size))
        for axis, wraps in enumerate(self.periodic):
            difference = _second_difference(self.counts[axis], wraps)
            factors = [np.eye(count) for count in self.counts]
            factors[axis] = difference.T @ difference
            total += reduce(np.kron, factors)
        return total

    def _axis(self, axis: int, z: Float[Array, ""]) -> Float[Array, "count"]:
        intervals, count = self.intervals[axis], self.counts[axis]
        place = (z - self.lower[axis]) / (self.upper[axis] - self.lower[axis]) * intervals
        if self.periodic[axis]:
            apart = place - jnp.arange(count)
            return _cardinal(apart - count * jnp.round(apart / count))
        return _cardinal(place - jnp.arange(-1, count - 1))


@eqx.filter_jit
def _at_points(basis: TensorBasis, z: Array) -> Array:
    return jax.vmap(basis)(z)


def _cardinal(u: Float[Array, "count"]) -> Float[Array, "count"]:
    """The cubic B-spline of knots -2, -1, 0, 1, 2."""
    far = jnp.maximum(2 - jnp.abs(u), 0)
    near = jnp.maximum(1 - jnp.abs(u), 0)
    return (far**3 - 4 * near**3) / 6


def _second_difference(count: int, wraps: bool) -> Float[np.ndarray, "rows count"]:
    if not wraps:
        return np.diff(np.eye(count), 2, axis=0)
    one = np.eye(count)
    return np.roll(one, 1, axis=1) - 2 * one + np.roll(one, -1, axis=1)
