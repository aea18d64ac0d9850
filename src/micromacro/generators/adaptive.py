r"""The probability flow with adaptive steps: its density by integrating the divergence along the way.

$\log p(x_T) = \log p_0(x_0) - \int \nabla \cdot f(x_t, t)\, dt$ along $\dot x = f$. Source: R. Chen et al., Neural
ordinary differential equations, NeurIPS 2018; W. Grathwohl et al., FFJORD, ICLR 2019.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from micromacro.generators.base import wrap_angles
from micromacro.generators.denoiser import Denoiser
from micromacro.generators.diffusion import Slope
from micromacro.generators.generator import ROUND_TRIP
from micromacro.sampling.proposal import Draw

PROBES = 16
MOST_STEPS = 4096

Divergence = Callable[[Slope, Float[Array, "Y"], Float[Array, ""]], tuple[Float[Array, "Y"], Float[Array, ""]]]


def exact_divergence(slope: Slope, x: Float[Array, "Y"], t: Float[Array, ""]) -> tuple[Array, Float[Array, ""]]:
    """The slope `(Y,)` and the trace of its Jacobian: as many forward derivatives as there are coordinates."""
    value, tangent = jax.linearize(lambda x: slope(x, t), x)
    return value, jnp.trace(jax.vmap(tangent)(jnp.eye(x.size, dtype=x.dtype)))


def hutchinson_divergence(
    slope: Slope, x: Float[Array, "Y"], t: Float[Array, ""], probes: Float[Array, "probes Y"]
) -> tuple[Array, Float[Array, ""]]:
    r"""The slope `(Y,)` and the mean of $v^T J v$ over probes of random signs, which is the trace in the mean.

    Its variance is $2 \sum_{i \ne j} J_{ij}^2$ over the number of probes, of the symmetric part of J.
    Source: M. Hutchinson, Communications in Statistics 19, 433 (1990).
    """
    value, tangent = jax.linearize(lambda x: slope(x, t), x)
    return value, jnp.mean(jax.vmap(lambda probe: probe @ tangent(probe))(probes))


class Travelled(NamedTuple):
    """Where a flow leads: `x` `(Y,)`, the integral of the divergence, and whether the tolerance was kept."""

    x: Float[Array, "... Y"]
    divergence: Float[Array, "..."]
    solved: Bool[Array, "..."]


class AdaptiveModel(eqx.Module):
    """The probability flow, solved to a tolerance, with the density of the continuous flow.

    The density is not that of the solver's own map, as `HeunModel`'s is: it is off by as much as the solver errs, where
    the divergence is exact some ten times the tolerance in nats, and a hundred times in the tails. Metropolis moves are
    exact to that only. With random probes the density errs by more, the same at every call: right on average over
    probes, but not good for weights. All are functions of the state alone.

    **Arguments:**

    - `tolerance`: of a step, relative and absolute.
    - `probes`: random signs for Hutchinson's estimate of the divergence; `None` for the exact one.
    - `probe_seed`: from which the probes are drawn, the same ones for every state.
    """

    denoiser: Denoiser
    tolerance: float = eqx.field(static=True, default=1e-4)
    probes: int | None = eqx.field(static=True, default=None)
    probe_seed: int = eqx.field(static=True, default=0)

    def draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One represented state given z."""
        return self._wrapped(self._travel(self.denoiser.base.draw(key), z, forward=True, divergence=_none).x)

    def log_prob(self, x: Float[Array, "Y"], z: Float[Array, "d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """The log-density of the flow at a state, minus infinity and `False` where the solver failed."""
        log_prob, solved, _ = self._encode(x, z)
        return log_prob, solved

    def draw_with_density(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw with its density; not valid where the flow did not lead back to its latent."""
        latent = self.denoiser.base.draw(key)
        made = self._travel(latent, z, forward=True, divergence=_none)
        state = self._wrapped(made.x)
        log_prob, solved, back = self._encode(state, z)
        extent = 1 + self.denoiser.base.deviation
        returned = jnp.max(jnp.abs(self._wrapped(back - latent))) <= 10 * ROUND_TRIP * extent
        return Draw(state, log_prob, made.solved & solved & returned)

    def weighted_draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw with the density integrated along the way that led to it."""
        latent = self.denoiser.base.draw(key)
        made = self._travel(latent, z, forward=True, divergence=self._divergence)
        return Draw(self._wrapped(made.x), self.denoiser.base.log_prob(latent) - made.divergence, made.solved)

    def _encode(self, x: Array, z: Array) -> tuple[Array, Array, Array]:
        back = self._travel(x, z, forward=False, divergence=self._divergence)
        log_prob = self.denoiser.base.log_prob(back.x) - back.divergence
        solved = back.solved & jnp.isfinite(log_prob)
        return jnp.where(solved, log_prob, -jnp.inf), solved, self._wrapped(back.x)

    def _wrapped(self, x: Array) -> Array:
        return wrap_angles(x, self.denoiser.layout)

    def _divergence(self, slope: Slope, x: Array, t: Array) -> tuple[Array, Array]:
        if self.probes is None:
            return exact_divergence(slope, x, t)
        signs = jax.random.rademacher(jax.random.key(self.probe_seed), (self.probes, x.size), x.dtype)
        return hutchinson_divergence(slope, x, t, signs)

    def _travel(self, x: Array, z: Array, *, forward: bool, divergence: Divergence) -> Travelled:
        # half a second to import, which only this sampler needs
        import diffrax

        slope = self.denoiser.slope(z)
        first, last = self.denoiser.schedule.times(1)
        start, end = (first, last) if forward else (last, first)

        def rates(t, state, _):
            return divergence(slope, state[0], t)

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(rates),
            diffrax.Tsit5(),
            start,
            end,
            dt0=None,
            y0=(x, jnp.zeros((), x.dtype)),
            stepsize_controller=diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance),
            max_steps=MOST_STEPS,
            throw=False,
        )
        assert solution.ys is not None
        state, total = solution.ys
        solved = (solution.result == diffrax.RESULTS.successful) & jnp.all(jnp.isfinite(state[-1]))
        # the integral is counted along the flow to the data either way
        return Travelled(state[-1], total[-1] if forward else -total[-1], solved)


def _none(slope: Slope, x: Array, t: Array) -> tuple[Array, Array]:
    """The slope alone, for draws without a density."""
    return slope(x, t), jnp.zeros((), x.dtype)
