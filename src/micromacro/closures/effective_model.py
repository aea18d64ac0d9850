r"""The networks of a learned reduced equation: drift and Cholesky factor of D, in units of the data and of the lag.

On an axis that is not periodic u = (z - mean) / standard deviation; on a periodic one u is an angle, of which the
networks see cosine and sine. Time is counted in lags. The drift is a linear function plus a network and the factor
$L_0 (\cdot)$ of a lower triangle with a softplus diagonal, where the linear function and $L_0$ start at the least-squares
fit of the pairs: a new model is the best linear equation of constant noise.
"""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.closures.linear_flow import applied, product
from micromacro.closures.snapshots import SnapshotPairs
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.generators.perceptron import Perceptron

QUIET = 0.1
"""The size of a new network's output."""
LEAST_MEMORY = 0.02
"""The least share of u that a linear fit must say is left after a lag for its logarithm to be believed."""
UNIT = float(np.log(np.expm1(1.0)))
"""The number whose softplus is one."""


class Scaling(eqx.Module):
    """From coarse values to units of the data and of the lag.

    **Arguments:**

    - `centre`, `scale`: `(d,)`, in units of z.
    - `lag`: in time units.
    - `periodic`: `(d,)` booleans.
    """

    centre: Float[np.ndarray, "d"]
    scale: Float[np.ndarray, "d"]
    lag: Float[np.ndarray, ""]
    periodic: tuple[bool, ...] = eqx.field(static=True)

    def position(self, z):
        """U of z, `(..., d)` both."""
        return (z - self.centre) / self.scale

    def drift(self, drift):
        """From units of the data a lag to those of z a time, `(..., d)`."""
        return drift * self.scale / self.lag

    def diffusion(self, diffusion):
        """From squared units of the data a lag to those of z a time, `(..., d, d)`."""
        return diffusion * self.scale[:, None] * self.scale[None] / self.lag


def scaling_of(coarse: CoarseVariable, pairs: SnapshotPairs) -> Scaling:
    """Centred at the weighted mean of the starts, in units of their deviation; angles by the period."""
    share = pairs.weight / pairs.weight.sum()
    mean = share @ pairs.start
    deviation = np.sqrt(share @ (pairs.start - mean) ** 2)
    centre = np.where(coarse.periodic, coarse.lower, mean)
    scale = np.where(coarse.periodic, coarse.range / (2 * np.pi), deviation)
    return Scaling(centre, scale, np.asarray(pairs.lag, float), coarse.periodic)


@dataclass(frozen=True)
class LinearFit:
    """The linear equation of constant noise that moves u as the pairs do, in scaled units.

    Drift `slope` u + `offset`, Cholesky factor of D.
    """

    slope: Float[np.ndarray, "d d"]
    offset: Float[np.ndarray, "d"]
    factor: Float[np.ndarray, "d d"]

    @classmethod
    def of(cls, scaling: Scaling, pairs: SnapshotPairs) -> "LinearFit":
        r"""Weighted least squares of the displacements, constant along periodic axes, turned into rates.

        A displacement A u + c belongs to the slope $J = \log(1 + A)$ and the offset $J A^{-1} c$; where 1 + A is not the
        exponential of a real matrix, or nearly singular, the rates are those of Euler's scheme.
        """
        u = np.where(scaling.periodic, 0.0, scaling.position(pairs.start))
        moved = pairs.displacement / scaling.scale
        root = np.sqrt(pairs.weight / pairs.weight.sum())[:, None]
        design = np.concatenate([u, np.ones((len(u), 1))], axis=1)
        solution = np.linalg.lstsq(root * design, root * moved, rcond=None)[0]
        rest = root * (moved - design @ solution)
        rates = _rates(solution[:-1].T)
        return cls(rates @ solution[:-1].T, rates @ solution[-1], np.linalg.cholesky(rest.T @ rest / 2))


class LowerTriangle(eqx.Module):
    """A lower triangular `(d, d)` matrix with positive diagonal as a function of z."""

    network: Perceptron
    size: int = eqx.field(static=True)

    def __init__(self, features: int, size: int, width: int, depth: int, key: Key[Array, ""]):
        self.network = _network(features, size * (size + 1) // 2, width, depth, key)
        self.size = size

    def __call__(self, features: Float[Array, "features"], _own: Float[Array, "d two"]) -> Float[Array, "d d"]:
        """The triangle at one z."""
        output = self.network(features) / math.sqrt(self.network.layers[-1].weight.shape[-1])
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

    networks: Perceptron

    def __init__(self, size: int, width: int, depth: int, key: Key[Array, ""]):
        keys = jax.random.split(key, size)
        self.networks = eqx.filter_vmap(lambda one: _network(2, 1, width, depth, one))(keys)

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
    drift_network: Perceptron
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
        self.drift_network = _network(features, d, width, depth, first)
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
        drift = jax.lax.stop_gradient(self.drift_scale) * (line + 40/math.sqrt(self.drift_network.layers[-1].weight.shape[-1])* self.drift_network(features))
        base = jax.lax.stop_gradient(self.base_factor)
        return drift, product(base, self.triangle(features, own))


def _rates(change: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """log(1 + A) / A, the unit matrix where the logarithm is of no use."""
    values, vectors = np.linalg.eig(change)
    if np.min(np.abs(1 + values)) < LEAST_MEMORY or np.any((values.real < -1) & (np.abs(values.imag) < 1e-12)):
        return np.eye(len(change))
    ratio = np.where(np.abs(values) < 1e-9, 1.0, np.log1p(values) / np.where(values == 0, 1.0, values))
    found = vectors @ np.diag(ratio) @ np.linalg.inv(vectors)
    return np.eye(len(change)) if np.linalg.cond(vectors) > 1e8 else found.real


def _network(inputs: int, outputs: int, width: int, depth: int, key: Key[Array, ""]) -> Perceptron:
    network = Perceptron(inputs, outputs, width, depth, key, activation=jnp.tanh)
    return eqx.tree_at(lambda one: one.layers[-1], network, jax.tree.map(lambda leaf: QUIET * leaf, network.layers[-1]))
