r"""Transition densities of numerical schemes for $dz = b(z) dt + \sqrt{2 D(z)} dW$: how z moves in one lag.

The schemes whose density is Gaussian differ in its mean and covariance alone:

- `euler-maruyama`: b h and 2 D h. Relative error of both O(h).
- `local-linearisation`: the exact law of the equation with b linear about the start and D constant (T. Ozaki, Stat.
  Sin. 2, 113, 1992; I. Shoji and T. Ozaki, Stoch. Anal. Appl. 16, 733, 1998). Exact at any lag where b is linear and D
  constant, else O(h) too, as D changes on the way and noise feels the curvature of b.
- `statistical-linearisation`: the same about the Gaussian law half a lag on, b, its slope and D averaged over it at
  sigma points (S. Särkkä and A. Solin, Applied Stochastic Differential Equations, 2019, section 9.1; J. Uhlmann's
  points). A midpoint rule for the first two moments: exact for linear b and constant D too, else O(h²).

Fitting by a Gaussian density whose first two moments are right is consistent even where transitions are not Gaussian
(R. Wedderburn, Biometrika 61, 439, 1974), so the moments decide the bias, and the last scheme is the default.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.closures.linear_flow import applied, linear_flow, lower_factor, product, solve_lower

Coefficients = Callable[[Float[Array, "d"]], tuple[Float[Array, "d"], Float[Array, "d d"]]]
"""z `(d,)` to the drift b `(d,)` and the lower Cholesky factor `(d, d)` of D."""
Moments = tuple[Float[Array, "d"], Float[Array, "d d"]]
"""Mean displacement `(d,)` and covariance `(d, d)`."""
Lag = float | Float[Array, ""]


@runtime_checkable
class Scheme(Protocol):
    """The transition density of one scheme, for one pair; immutable and hashable."""

    @property
    def order(self) -> int:
        """The power of the lag with which the error of fitted coefficients falls."""
        ...

    def moments(self, coefficients: Coefficients, start: Float[Array, "d"], lag: Lag) -> Moments:
        """Mean displacement `(d,)` and covariance `(d, d)` of the density."""
        ...

    def log_density(
        self, coefficients: Coefficients, start: Float[Array, "d"], displacement: Float[Array, "d"], lag: Lag
    ) -> Float[Array, ""]:
        """The logarithm of the density of `displacement` from `start`."""
        ...

    def residual(
        self, coefficients: Coefficients, start: Float[Array, "d"], displacement: Float[Array, "d"], lag: Lag
    ) -> Float[Array, "d"]:
        """The standard normal numbers that the scheme would have needed, `(d,)`."""
        ...


@dataclass(frozen=True)
class GaussianScheme:
    """A scheme of Gaussian density.

    **Arguments:**

    - `rule`: (coefficients, start, lag) to the mean displacement `(d,)` and covariance `(d, d)`.
    - `order`: of its bias in the lag.
    """

    rule: Callable[[Coefficients, Float[Array, "d"], Lag], Moments]
    order: int

    def moments(self, coefficients: Coefficients, start: Float[Array, "d"], lag: Lag) -> Moments:
        """Mean displacement `(d,)` and covariance `(d, d)`."""
        return self.rule(coefficients, start, lag)

    def log_density(
        self, coefficients: Coefficients, start: Float[Array, "d"], displacement: Float[Array, "d"], lag: Lag
    ) -> Float[Array, ""]:
        """The logarithm of the Gaussian density of `displacement`."""
        residual, factor = self._standardised(coefficients, start, displacement, lag)
        log_determinant = jnp.sum(jnp.log(jnp.diagonal(factor)))
        return -0.5 * jnp.sum(residual**2) - log_determinant - 0.5 * len(start) * math.log(2 * math.pi)

    def residual(
        self, coefficients: Coefficients, start: Float[Array, "d"], displacement: Float[Array, "d"], lag: Lag
    ) -> Float[Array, "d"]:
        """The displacement less its mean, by the inverse Cholesky factor of its covariance."""
        return self._standardised(coefficients, start, displacement, lag)[0]

    def _standardised(self, coefficients, start, displacement, lag):
        mean, covariance = self.moments(coefficients, start, lag)
        factor = lower_factor(covariance)
        return solve_lower(factor, displacement - mean), factor


def euler_maruyama_moments(coefficients: Coefficients, start: Float[Array, "d"], lag: Lag) -> Moments:
    """Mean b h and covariance 2 D h."""
    drift, factor = coefficients(start)
    return lag * drift, 2 * lag * product(factor, factor.T)


def local_linearisation_moments(coefficients: Coefficients, start: Float[Array, "d"], lag: Lag) -> Moments:
    r"""$J^{-1}(e^{Jh} - 1) b$ and $\int_0^h e^{Js} 2D e^{J^Ts} ds$, J the slope of b at the start."""
    drift, factor = coefficients(start)
    slope = jax.jacfwd(lambda z: coefficients(z)[0])(start)
    integral, covariance = linear_flow(slope, 2 * product(factor, factor.T), lag)
    return applied(integral, drift), covariance


def statistical_linearisation_moments(coefficients: Coefficients, start: Float[Array, "d"], lag: Lag) -> Moments:
    r"""Those of $dz = (\bar b + \bar J (z - m)) dt + \sqrt{2 \bar D} dW$, averages over the law half a lag on.

    That law is N(m, D h), m = z + b h / 2: its own error is of an order that the midpoint rule forgives.
    """
    drift, factor = coefficients(start)
    step, spread = 0.5 * lag * drift, jnp.sqrt(lag) * factor
    offsets, weights = sigma_points(len(start))
    points = [start + step + applied(spread, jnp.asarray(offset, start.dtype)) for offset in offsets]
    drifts, factors = zip(*(coefficients(point) for point in points), strict=True)
    diffusion = _mean([product(factor, factor.T) for factor in factors], weights)
    along_axes = jnp.stack([_mean(drifts, weights * column) for column in offsets.T], axis=1)
    slope = jnp.stack([_divided(spread, row) for row in along_axes])
    integral, covariance = linear_flow(slope, 2 * diffusion, lag)
    return applied(integral, _mean(drifts, weights) - applied(slope, step)), covariance


def sigma_points(dimension: int) -> tuple[Float[np.ndarray, "points d"], Float[np.ndarray, "points"]]:
    r"""Points and weights with the moments of N(0, 1) up to the third, in one dimension up to the fifth.

    The centre and $\pm\sqrt c$ on each axis, c = max(3, d), weights 1 - d/c and 1/2c.
    """
    spread = max(3, dimension)
    axes = np.sqrt(spread) * np.eye(dimension)
    weights = np.concatenate([[1 - dimension / spread], np.full(2 * dimension, 0.5 / spread)])
    return np.concatenate([np.zeros((1, dimension)), axes, -axes]), weights


def scheme_bias(scheme: Scheme, coefficients: Coefficients, start: Float[Array, "d"], lag: Lag) -> Moments:
    r"""By how much a fit by `scheme` misses b `(d,)` and D `(d, d)`, estimated by step doubling.

    Two steps of half the lag, joined by the law of total variance at sigma points, have $2^{-p}$ of the error of one
    step of order p: their difference is $1 - 2^{-p}$ of it.
    """
    mean, covariance = scheme.moments(coefficients, start, lag)
    first, spread = scheme.moments(coefficients, start, lag / 2)
    offsets, weights = sigma_points(len(start))
    middle = [first + applied(lower_factor(spread), jnp.asarray(offset, start.dtype)) for offset in offsets]
    second, within = zip(*(scheme.moments(coefficients, start + moved, lag / 2) for moved in middle), strict=True)
    ends = [moved + more for moved, more in zip(middle, second, strict=True)]
    end = _mean(ends, weights)
    doubled = _mean([part + jnp.outer(one - end, one - end) for part, one in zip(within, ends, strict=True)], weights)
    share = (1 - 2.0**-scheme.order) * lag
    return (mean - end) / share, (covariance - doubled) / (2 * share)


def _mean(values: Sequence[Array] | Array, weights: Float[np.ndarray, "points"]) -> Array:
    """The sum of arrays times weights, in their precision."""
    return functools.reduce(
        operator.add, (float(weight) * value for weight, value in zip(weights, values, strict=True))
    )


def _divided(spread: Float[Array, "d d"], row: Float[Array, "d"]) -> Float[Array, "d"]:
    """The x of x L = `row` for a small lower triangular L."""
    return solve_lower(spread[::-1, ::-1].T, row[::-1])[::-1]
