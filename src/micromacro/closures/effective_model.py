r"""The networks of a learned reduced equation: drift and Cholesky factor of D, in units of the data and of the lag.

On an axis that is not periodic u = (z - mean) / standard deviation; on a periodic one u is an angle, of which the
networks see cosine and sine. Time is counted in lags. The drift is a linear function plus a network; the factor is
$L_0$ times a lower triangle with a softplus diagonal. The linear function and $L_0$ start at the least-squares fit of
the pairs: a new model is the best linear equation of constant noise.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.closures.linear_flow import applied, product
from micromacro.closures.scaling import LinearFit
from micromacro.generators.perceptron import Perceptron

QUIET = 0.1
"""The size of a new network's output."""
DRIFT_AMPLITUDE = 40.0
"""The prior deviation of the drift beyond its linear part, in units of D over the deviation of the data: the slope of
F in kT. Generous: it is what steep walls need."""
FACTOR_AMPLITUDE = 0.5
"""The prior deviation of the logarithm, roughly, of the factor of D."""
UNIT = float(np.log(np.expm1(1.0)))
"""The number whose softplus is one."""


class Smooth(eqx.Module):
    """A perceptron of hyperbolic tangents; `amplitude` is its output's size were its last weights of unit variance."""

    perceptron: Perceptron
    size: float = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, width: int, depth: int, amplitude: float, key: Key[Array, ""]):
        self.size = amplitude / math.sqrt(width)
        new = Perceptron(inputs, outputs, width, depth, key, activation=jnp.tanh)
        last = jax.tree.map(lambda leaf: QUIET / self.size * leaf, new.layers[-1])
        self.perceptron = eqx.tree_at(lambda one: one.layers[-1], new, last)

    def __call__(self, value: Float[Array, "inputs"]) -> Float[Array, "outputs"]:
        """The output for one sample."""
        return self.size * self.perceptron(value)


class LowerTriangle(eqx.Module):
    """A lower triangular `(d, d)` matrix with positive diagonal as a function of z."""

    network: Smooth
    size: int = eqx.field(static=True)

    def __init__(self, features: int, size: int, width: int, depth: int, key: Key[Array, ""]):
        self.network = Smooth(features, size * (size + 1) // 2, width, depth, FACTOR_AMPLITUDE, key)
        self.size = size

    def __call__(self, features: Float[Array, "features"], _own: Float[Array, "d two"]) -> Float[Array, "d d"]:
        """The triangle at one z."""
        output = self.network(features)
        diagonal, below = jax.nn.softplus(output[: self.size] + UNIT), iter(output[self.size :])
        nothing = jnp.zeros((), output.dtype)
        return jnp.stack(
            [
                jnp.stack([diagonal[a] if a == b else next(below) if b < a else nothing for b in range(self.size)])
                for a in range(self.size)
            ]
        )


class OwnAxisDiagonal(eqx.Module):
    """A positive diagonal `(d, d)` matrix each entry of which depends on its own coordinate alone."""

    networks: Smooth

    def __init__(self, size: int, width: int, depth: int, key: Key[Array, ""]):
        keys = jax.random.split(key, size)
        self.networks = eqx.filter_vmap(lambda one: Smooth(2, 1, width, depth, FACTOR_AMPLITUDE, one))(keys)

    def __call__(self, _features: Float[Array, "features"], own: Float[Array, "d two"]) -> Float[Array, "d d"]:
        """The diagonal at one z."""
        output = eqx.filter_vmap(lambda network, seen: network(seen))(self.networks, own)[:, 0]
        return jnp.diag(jax.nn.softplus(output + UNIT))


class EffectiveModel(eqx.Module):
    """Drift `(d,)` and lower Cholesky factor of D `(d, d)` in scaled units, as functions of u `(d,)`."""

    slope: Float[Array, "*members d d"]
    offset: Float[Array, "*members d"]
    base_factor: Float[Array, "*members d d"]
    drift_scale: Float[Array, "*members d"]
    drift_network: Smooth
    triangle: LowerTriangle | OwnAxisDiagonal
    periodic: tuple[bool, ...] = eqx.field(static=True)

    def __init__(
        self, fit: LinearFit, periodic: tuple[bool, ...], width: int, depth: int, own_axis: bool, key: Key[Array, ""]
    ):
        first, second = jax.random.split(key)
        d, features = len(periodic), len(periodic) + sum(periodic)
        # the drift is the slope of a free energy times D: of the order of D, in units of the data
        scale = np.einsum("ab,ab->a", fit.factor, fit.factor)
        factor = np.diag(np.sqrt(scale)) if own_axis else fit.factor
        numbers = (fit.slope / scale[:, None], fit.offset / scale, factor, scale)
        self.slope, self.offset, self.base_factor, self.drift_scale = (
            jnp.asarray(number, jnp.float32) for number in numbers
        )
        self.drift_network = Smooth(features, d, width, depth, DRIFT_AMPLITUDE, first)
        self.triangle = (
            OwnAxisDiagonal(d, width, depth, second) if own_axis else LowerTriangle(features, d, width, depth, second)
        )
        self.periodic = periodic

    def __call__(self, u: Float[Array, "d"]) -> tuple[Float[Array, "d"], Float[Array, "d d"]]:
        """Drift and factor at one u."""
        periodic = np.asarray(self.periodic)
        own = jnp.stack([jnp.where(periodic, jnp.cos(u), u), jnp.where(periodic, jnp.sin(u), 0.0)], axis=1)
        features = jnp.concatenate([own[:, 0], own[np.flatnonzero(periodic), 1]])
        line = applied(self.slope, jnp.where(periodic, 0.0, u)) + self.offset
        drift = jax.lax.stop_gradient(self.drift_scale) * (line + self.drift_network(features))
        base = jax.lax.stop_gradient(self.base_factor)
        return drift, product(base, self.triangle(features, own))
