"""What a generator learns instead of the raw state: standardised residuals given z, and angles.

Coordinates between bounds are first stretched to the real line; those on a circle stay there as angles, or, where the
condition holds them to a small part of it, are cut open and treated like any other.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from micromacro.coordinates.space import Space, wrap
from micromacro.generators.affine import ConditionalAffine, fit_affine, untrained_affine

SUBSAMPLE = 40_000
NARROW = 0.8
# closer to a bound than this share of the range, training data are moved away from it
NEAREST = 1e-9


class Layout(NamedTuple):
    """A represented state `(Y,)` holds so many real numbers, then so many angles in [-π, π).

    `apart`: which of them neither see others nor are seen by them, in models that can leave them so.
    """

    reals: int
    circles: int
    apart: tuple[int, ...] = ()

    @property
    def dimension(self) -> int:
        """The length of a represented state, that of the state itself."""
        return self.reals + self.circles

    def of_reals(self, value: Float[Array, ""], other: float) -> Float[Array, "Y"]:
        """A number for each coordinate: `value` for the real ones. Updates of slices would be slow scatters."""
        return jnp.where(np.arange(self.dimension) < self.reals, value, np.float32(other))


class Represented(NamedTuple):
    """A represented state `(Y,)`, and the log-determinant of the map that led to it."""

    state: Float[Array, "... Y"]
    log_determinant: Float[Array, "..."]


class Representation(eqx.Module):
    r"""The bijection between a state and what generators learn, given z.

    Real coordinates become $L(z)^{-1}(g(q) - \mu(z))$, where g stretches an interval to the line by the inverse normal
    distribution function and a half-line by the logarithm; circles become angles.

    **Arguments:**

    - `affine`: location and scale given z of the real coordinates.
    - `state`: where states live; `circles`: indices of the coordinates that stay on a circle.
    - `apart`: indices of those that are to be learned apart from all others.
    """

    affine: ConditionalAffine
    state: Space = eqx.field(static=True)
    circles: tuple[int, ...] = eqx.field(static=True)
    apart: tuple[int, ...] = eqx.field(static=True, default=())

    @property
    def layout(self) -> Layout:
        """How many real numbers and angles a represented state holds."""
        order = (*self.reals, *self.circles)
        apart = tuple(place for place, index in enumerate(order) if index in self.apart)
        return Layout(len(self.reals), len(self.circles), apart)

    @property
    def reals(self) -> tuple[int, ...]:
        """Indices of the coordinates that do not stay on a circle."""
        return tuple(index for index in range(self.state.dimension) if index not in self.circles)

    def encode(self, q: Float[Array, "Y"], z: Float[Array, "d"]) -> Represented:
        """The represented state of a state; not finite where the state lies outside its bounds."""
        reals, circles = np.array(self.reals, int), np.array(self.circles, int)
        stretched, log_slope = stretch(q, self.state)
        residual, change = self.affine.encode(stretched[reals], z)
        turn = 2 * np.pi / self.state.range[circles]
        angle = (q[circles] - np.asarray(self.state.lower)[circles]) * turn - np.pi
        angle = wrap(angle, np.full(len(circles), 2 * np.pi))
        state = jnp.concatenate([residual, angle.astype(residual.dtype)])
        change = change + jnp.sum(log_slope[reals]) + np.sum(np.log(turn))
        return Represented(state, change.astype(residual.dtype))

    def decode(self, represented: Float[Array, "Y"], z: Float[Array, "d"]) -> Float[Array, "Y"]:
        """The state of a represented one, in double precision; angles within the range of the state."""
        reals, circles = np.array(self.reals, int), np.array(self.circles, int)
        residual, angle = represented[: len(reals)], represented[len(reals) :].astype(float)
        turned = (wrap(angle, np.full(len(circles), 2 * np.pi)) + np.pi) * self.state.range[circles] / (2 * np.pi)
        q = jnp.zeros(self.state.dimension)
        q = q.at[circles].set(np.asarray(self.state.lower)[circles] + turned)
        return compress(q.at[reals].set(self.affine.decode(residual, z)), self.state)


def stretch(q: Float[Array, "Y"], space: Space) -> tuple[Float[Array, "Y"], Float[Array, "Y"]]:
    """Coordinates between bounds as real numbers, and the logarithm of each one's slope; others as they are."""
    low, high, between, above, below = _kinds(space)
    unit = (q - jnp.where(between, low, 0.0)) / jnp.where(between, high - low, 1.0)
    normal = ndtri(jnp.where(between, unit, 0.5))
    log_normal = 0.5 * normal**2 + 0.5 * np.log(2 * np.pi) - jnp.log(jnp.where(between, high - low, 1.0))
    distance = jnp.where(above, q - jnp.where(above, low, 0.0), jnp.where(below, jnp.where(below, high, 0.0) - q, 1.0))
    logarithm = jnp.log(distance)
    half = above | below
    value = jnp.where(between, normal, jnp.where(half, logarithm, q))
    return value, jnp.where(between, log_normal, jnp.where(half, -logarithm, 0.0))


def compress(value: Float[Array, "Y"], space: Space) -> Float[Array, "Y"]:
    """The inverse of `stretch`."""
    low, high, between, above, below = _kinds(space)
    inside = jnp.where(between, low, 0.0) + jnp.where(between, high - low, 1.0) * ndtr(value)
    distance = jnp.exp(jnp.where(above | below, value, 0.0))
    half = jnp.where(above, jnp.where(above, low, 0.0) + distance, jnp.where(below, high, 0.0) - distance)
    return jnp.where(between, inside, jnp.where(above | below, half, value))


def _kinds(space: Space):
    low, high = np.asarray(space.lower), np.asarray(space.upper)
    free = ~np.asarray(space.periodic)
    has_low, has_high = np.isfinite(low), np.isfinite(high)
    low, high = np.where(has_low, low, 0.0), np.where(has_high, high, 0.0)
    return low, high, free & has_low & has_high, free & has_low & ~has_high, free & ~has_low & has_high


def fit_representation(
    q: Float[np.ndarray, "n Y"],
    z: Float[np.ndarray, "n d"],
    weight: Float[np.ndarray, "n"],
    state: Space,
    condition: Space,
    rng: np.random.Generator,
    apart: tuple[int, ...] = (),
) -> Representation:
    """Decide which periodic coordinates stay on their circle, and fit location and scale of the others given z."""
    pick = rng.choice(len(q), min(len(q), SUBSAMPLE), p=weight / weight.sum())
    q, z = q[pick], z[pick]
    cuts = {index: found for index in state.circles if (found := _cut(q[:, index], z, state, condition, index))}
    circles = tuple(index for index in state.circles if index not in cuts)
    reals = [index for index in range(state.dimension) if index not in circles]
    attached, offset = np.zeros((state.dimension, condition.dimension)), np.zeros(state.dimension)
    for index, (slope, center) in cuts.items():
        attached[index], offset[index] = slope, center
    stretched = np.asarray(jax.vmap(lambda one: stretch(one, state)[0])(jnp.asarray(inside_bounds(q, state))))
    affine = fit_affine(stretched[:, reals], z, condition, attached[reals], offset[reals], state.period[reals])
    return Representation(affine, state, circles, apart)


def untrained_representation(
    state: Space, condition: Space, circles: tuple[int, ...], apart: tuple[int, ...] = ()
) -> Representation:
    """One of the same structure that holds nothing yet."""
    return Representation(untrained_affine(state.dimension - len(circles), condition), state, circles, apart)


def inside_bounds(q: Float[np.ndarray, "n Y"], state: Space) -> Float[np.ndarray, "n Y"]:
    """States moved off their bounds, where a stretched coordinate would be infinite."""
    low, high, between, above, below = _kinds(state)
    margin = NEAREST * np.where(between, high - low, 1.0)
    q = np.where(between, np.clip(q, np.where(between, low + margin, 0), np.where(between, high - margin, 1)), q)
    return np.where(above, np.maximum(q, low + NEAREST), np.where(below, np.minimum(q, high - NEAREST), q))


def _cut(
    angle: Float[np.ndarray, "n"], z: Float[np.ndarray, "n d"], state: Space, condition: Space, index: int
) -> tuple[Float[np.ndarray, "d"], float] | None:
    """How a periodic coordinate advances with the condition, and about where, if that holds it to part of its circle.

    A generator must see a coordinate that *is* a periodic coarse variable relative to z: there it is a narrow bump.
    """
    period = float(state.range[index])
    best = None
    for slope in _windings(condition, period):
        turned = 2 * np.pi / period * (angle - z @ slope)
        center = np.angle(np.mean(np.exp(1j * turned)))
        spread = np.max(np.abs(np.angle(np.exp(1j * (turned - center)))))
        if spread < NARROW * np.pi and (best is None or spread < best[0]):
            best = spread, slope, float(center * period / (2 * np.pi))
    return None if best is None else best[1:]


def _windings(condition: Space, period: float) -> list[Float[np.ndarray, "d"]]:
    found = [np.zeros(condition.dimension)]
    for axis in condition.circles:
        for sign in (1.0, -1.0):
            slope = np.zeros(condition.dimension)
            slope[axis] = sign * period / condition.range[axis]
            found.append(slope)
    return found
