"""The probability flow of a denoiser as a chain of discrete Heun steps whose density is exact."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from micromacro.generators.elimination import solve_with_determinant

RESIDUAL = 3e-5
ITERATIONS = 9

type_of_slope = Callable[[Float[Array, "Y"], Float[Array, ""]], Float[Array, "Y"]]


def noise_levels(steps: int, largest: float, smallest: float, exponent: float = 7.0) -> Float[np.ndarray, "{steps}+1"]:
    """σ from largest to smallest. Source: Karras et al., NeurIPS 2022, eq. 5, without the final step to zero."""
    ramp = np.linspace(0, 1, steps + 1)
    ends = largest ** (1 / exponent), smallest ** (1 / exponent)
    return ((ends[0] + ramp * (ends[1] - ends[0])) ** exponent).astype(np.float32)


def heun_step(slope: type_of_slope, x: Float[Array, "Y"], now: Array, then: Array) -> Float[Array, "Y"]:
    """One step of the probability flow dx/dσ = slope from noise level `now` to `then`."""
    first = slope(x, now)
    second = slope(x + (then - now) * first, then)
    return x + (then - now) / 2 * (first + second)


class Encoded(NamedTuple):
    """What the inverse of the sampler gives.

    `latent` `(Y,)` at the largest noise; `log_prob` of the state; `solved`, whether every step was inverted to
    `RESIDUAL` and was injective there.
    """

    latent: Float[Array, "... Y"]
    log_prob: Float[Array, "..."]
    solved: Bool[Array, "..."]


class Generated(NamedTuple):
    """A state `(Y,)`, its log-density, and whether every step that led to it was injective there."""

    state: Float[Array, "... Y"]
    log_prob: Float[Array, "..."]
    injective: Bool[Array, "..."]


def generate(slope: type_of_slope, latent: Float[Array, "Y"], levels: Float[np.ndarray, "n"]) -> Float[Array, "Y"]:
    """The state that the sampler makes of a latent at the largest noise level."""

    def step(x: Array, pair: Array):
        return heun_step(slope, x, pair[0], pair[1]), None

    return jax.lax.scan(step, latent, jnp.stack([levels[:-1], levels[1:]], axis=1))[0]


def generate_with_density(slope: type_of_slope, latent: Float[Array, "Y"], levels: Float[np.ndarray, "n"]) -> Generated:
    """The state of a latent and the log-density of the discrete sampler along the way that led there.

    No step is solved back, so the density is known of every draw; it is that of the sampler where steps are injective.
    """

    def step(carry: tuple, pair: Array):
        x, log_determinant, injective = carry
        value, tangent = jax.linearize(partial(heun_step, slope, now=pair[0], then=pair[1]), x)
        jacobian = jax.vmap(tangent, out_axes=1)(jnp.eye(x.size, dtype=x.dtype))
        found = solve_with_determinant(jacobian, x)
        return (value, log_determinant + found.log_determinant, injective & (found.sign > 0)), None

    start = (latent, jnp.zeros((), latent.dtype), jnp.asarray(True))
    pairs = jnp.stack([levels[:-1], levels[1:]], axis=1)
    (state, log_determinant, injective), _ = jax.lax.scan(step, start, pairs)
    return Generated(state, _latent_log_prob(latent, levels) - log_determinant, injective)


def _latent_log_prob(latent: Float[Array, "Y"], levels: Float[np.ndarray, "n"]) -> Float[Array, ""]:
    variance = np.float32(levels[0] ** 2 + 1)
    return -0.5 * jnp.sum(latent**2) / variance - 0.5 * latent.size * jnp.log(2 * np.float32(np.pi) * variance)


def invert(slope: type_of_slope, state: Float[Array, "Y"], levels: Float[np.ndarray, "n"]) -> Encoded:
    r"""The latent of a state, and the exact log-density of the discrete sampler there.

    Each Heun step is solved back by fixed-point iteration, and its Jacobian gives the change of density:
    $\log p(x_n) = \log N(x_0; 0, \sigma_{max}^2 + 1) - \sum_i \log|\det \partial x_{i+1} / \partial x_i|$.
    The result is a function of the state alone, so that a Metropolis chain that rejects where it is not the latent that
    drew the state stays exact.
    """

    def step(carry: tuple, pair: Array):
        x, log_determinant, solved = carry
        found = _solve_step(slope, x, pair[0], pair[1])
        good = solved & (found.residual <= RESIDUAL) & (found.sign > 0)
        return (found.x, log_determinant + found.log_determinant, good), None

    start = (state, jnp.zeros((), state.dtype), jnp.asarray(True))
    backwards = jnp.stack([levels[:-1], levels[1:]], axis=1)[::-1]
    (latent, log_determinant, solved), _ = jax.lax.scan(step, start, backwards)
    log_prob = _latent_log_prob(latent, levels) - log_determinant
    solved = solved & jnp.isfinite(log_prob)
    return Encoded(latent, jnp.where(solved, log_prob, -jnp.inf), solved)


class _Inverted(NamedTuple):
    """The state before a step, how well the step leads back, and the determinant of its Jacobian there."""

    x: Float[Array, "Y"]
    residual: Float[Array, ""]
    sign: Float[Array, ""]
    log_determinant: Float[Array, ""]


def _solve_step(slope: type_of_slope, target: Array, now: Array, then: Array) -> _Inverted:
    forward = partial(heun_step, slope, now=now, then=then)
    # the step is the identity plus something small, so fixed-point iteration contracts, except between modes that the
    # flow tears apart; Newton's method would need a Jacobian an iteration, for all of a batch, to save those few
    guess = heun_step(slope, target, then, now)
    x = jax.lax.fori_loop(0, ITERATIONS, lambda _, x: x - (forward(x) - target), guess)
    value, tangent = jax.linearize(forward, x)
    jacobian = jax.vmap(tangent, out_axes=1)(jnp.eye(x.size, dtype=x.dtype))
    found = solve_with_determinant(jacobian, value - target)
    residual = jnp.max(jnp.abs(value - target)) / (1 + now)
    return _Inverted(x, residual, found.sign, found.log_determinant)
