"""A flow from a base law to the data as a chain of discrete Heun steps whose density is exact."""

import abc
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from micromacro.generators.base import Base, wrap_angles
from micromacro.generators.elimination import solve_with_determinant
from micromacro.generators.generator import ROUND_TRIP
from micromacro.sampling.proposal import Draw

RESIDUAL = 3e-5
ITERATIONS = 9

Slope = Callable[[Float[Array, "Y"], Float[Array, ""]], Float[Array, "Y"]]


class Chain(NamedTuple):
    """A flow cut into steps.

    **Arguments:**

    - `slope`: (x `(Y,)`, t) to dx/dt `(Y,)`; angles of x come last, and it has their period.
    - `times`: `(n + 1,)`, from the base to the data.
    - `base`: the law at the first time.
    - `extent`: `(n,)`, the size of states before each step, by which errors of its inverse are measured.
    """

    slope: Slope
    times: Float[np.ndarray, "n+1"]
    base: Base
    extent: Float[np.ndarray, "n"]

    @property
    def steps(self) -> tuple[Array, Array, Array]:
        """Of each step, where it begins and ends, and the extent before it, `(n,)` each."""
        return jnp.asarray(self.times[:-1]), jnp.asarray(self.times[1:]), jnp.asarray(self.extent)


def heun_step(slope: Slope, x: Float[Array, "Y"], now: Array, then: Array) -> Float[Array, "Y"]:
    """One step of dx/dt = slope from time `now` to `then`."""
    first = slope(x, now)
    second = slope(x + (then - now) * first, then)
    return x + (then - now) / 2 * (first + second)


class Encoded(NamedTuple):
    """What the inverse of the sampler gives.

    `latent` `(Y,)` at the first time; `log_prob` of the state; `solved`, whether every step was inverted to
    `RESIDUAL` and was injective there.
    """

    latent: Float[Array, "... Y"]
    log_prob: Float[Array, "..."]
    solved: Bool[Array, "..."]


def generate(chain: Chain, latent: Float[Array, "Y"]) -> Float[Array, "Y"]:
    """The state that the sampler makes of a latent; angles in [-π, π)."""

    def step(x: Array, times: tuple):
        return heun_step(chain.slope, x, times[0], times[1]), None

    return wrap_angles(jax.lax.scan(step, latent, chain.steps)[0], chain.base.layout)


def generate_with_density(chain: Chain, latent: Float[Array, "Y"]) -> Draw:
    """The state of a latent and the log-density of the discrete sampler along the way that led there.

    No step is solved back, so the density is known of every draw; it is that of the sampler where steps are injective,
    and `valid` says whether every one was.
    """

    def step(carry: tuple, times: tuple):
        x, log_determinant, injective = carry
        value, tangent = jax.linearize(partial(heun_step, chain.slope, now=times[0], then=times[1]), x)
        jacobian = jax.vmap(tangent, out_axes=1)(jnp.eye(x.size, dtype=x.dtype))
        found = solve_with_determinant(jacobian, x)
        return (value, log_determinant + found.log_determinant, injective & (found.sign > 0)), None

    start = (latent, jnp.zeros((), latent.dtype), jnp.asarray(True))
    (state, log_determinant, injective), _ = jax.lax.scan(step, start, chain.steps)
    log_prob = chain.base.log_prob(latent) - log_determinant
    return Draw(wrap_angles(state, chain.base.layout), log_prob, injective)


def invert(chain: Chain, state: Float[Array, "Y"]) -> Encoded:
    r"""The latent of a state, and the exact log-density of the discrete sampler there.

    Each Heun step is solved back by fixed-point iteration, and its Jacobian gives the change of density:
    $\log p(x_n) = \log p_0(x_0) - \sum_i \log|\det \partial x_{i+1} / \partial x_i|$, with $p_0$ the base.
    The result is a function of the state alone, so that a Metropolis chain that rejects where it is not the latent that
    drew the state stays exact. Steps map a circle to itself once around, whatever the slope: where no determinant
    changes its sign they are injective there as well.
    """

    def step(carry: tuple, times: tuple):
        x, log_determinant, solved = carry
        found = _solve_step(chain.slope, x, *times)
        good = solved & (found.residual <= RESIDUAL) & (found.sign > 0)
        return (found.x, log_determinant + found.log_determinant, good), None

    start = (state, jnp.zeros((), state.dtype), jnp.asarray(True))
    (latent, log_determinant, solved), _ = jax.lax.scan(step, start, chain.steps, reverse=True)
    log_prob = chain.base.log_prob(latent) - log_determinant
    solved = solved & jnp.isfinite(log_prob)
    return Encoded(wrap_angles(latent, chain.base.layout), jnp.where(solved, log_prob, -jnp.inf), solved)


def propose(chain: Chain, latent: Float[Array, "Y"]) -> Draw:
    """The state of a latent with `invert`'s density; not valid where the way back does not lead to the latent."""
    state = generate(chain, latent)
    encoded = invert(chain, state)
    away = wrap_angles(encoded.latent - latent, chain.base.layout)
    returned = jnp.max(jnp.abs(away)) <= ROUND_TRIP * chain.extent[0]
    return Draw(state, encoded.log_prob, encoded.solved & returned)


class ChainModel(eqx.Module):
    """A model whose draws follow a chain of steps, with the exact density of what these make."""

    @abc.abstractmethod
    def chain(self, z: Float[Array, "d"]) -> Chain:
        """The steps given z."""

    def draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One represented state given z."""
        chain = self.chain(z)
        return generate(chain, chain.base.draw(key))

    def log_prob(self, x: Float[Array, "Y"], z: Float[Array, "d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """The log-density of the sampler at a state, minus infinity and `False` where it could not be inverted."""
        encoded = invert(self.chain(z), x)
        return encoded.log_prob, encoded.solved

    def draw_with_density(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw with its density; not valid where the round trip back to its latent failed."""
        chain = self.chain(z)
        return propose(chain, chain.base.draw(key))

    def weighted_draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw with the density along the way that led to it: for importance weights, which need no inverse."""
        chain = self.chain(z)
        return generate_with_density(chain, chain.base.draw(key))


class _Inverted(NamedTuple):
    """The state before a step, how well the step leads back, and the determinant of its Jacobian there."""

    x: Float[Array, "Y"]
    residual: Float[Array, ""]
    sign: Float[Array, ""]
    log_determinant: Float[Array, ""]


def _solve_step(slope: Slope, target: Array, now: Array, then: Array, extent: Array) -> _Inverted:
    forward = partial(heun_step, slope, now=now, then=then)
    # the step is the identity plus something small, so fixed-point iteration contracts, except between modes that the
    # flow tears apart; Newton's method would need a Jacobian an iteration, for all of a batch, to save those few
    guess = heun_step(slope, target, then, now)
    x = jax.lax.fori_loop(0, ITERATIONS, lambda _, x: x - (forward(x) - target), guess)
    value, tangent = jax.linearize(forward, x)
    jacobian = jax.vmap(tangent, out_axes=1)(jnp.eye(x.size, dtype=x.dtype))
    found = solve_with_determinant(jacobian, value - target)
    residual = jnp.max(jnp.abs(value - target)) / extent
    return _Inverted(x, residual, found.sign, found.log_determinant)
