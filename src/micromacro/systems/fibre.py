r"""Exact answers of overdamped systems by quadrature over the fibres of the coarse variable.

A fibre is parametrised by $t$ with `embed(z, t)` the state on the level set $\xi = z$. With $J$ the Jacobian of
$(z, t) \mapsto q$, the measure $\delta(\xi(q) - z) e^{-V/kT} dq$ is $J(z, t) e^{-V/kT} dt$.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.systems.exact import ExactAnswers
from micromacro.systems.model import OverdampedSystem
from micromacro.systems.quadrature import Rule, average, log_integral, sample_line

CHUNK = 512  # coarse values evaluated at once, to bound the memory


@dataclass(frozen=True)
class Fibre:
    """The level sets of a coarse variable as images of one quadrature rule.

    **Arguments:**

    - `log_density`: state `(D,)` to `()`, unnormalised.
    - `embed`: `(z (d,), t (k,))` to the state `(D,)` with coarse value `z`.
    - `log_jacobian`: `(z (d,), t (k,))` to `()`, the logarithm of the volume of `(z, t) -> q`.
    - `rule`: quadrature over `t`, wide enough that the density beyond it does not matter.
    """

    log_density: Callable
    embed: Callable
    log_jacobian: Callable
    rule: Rule

    def log_weight(self) -> Callable:
        """`(n, d)` to `(n, m)`: the logarithm of the density at each node of each fibre."""
        return self._over_nodes(lambda z, t: self.log_density(self.embed(z, t)) + self.log_jacobian(z, t))

    def log_marginal(self) -> Callable:
        """`(n, d)` to `(n,)`: the logarithm of the marginal density of the coarse variable, unnormalised."""
        log_weight = self.log_weight()
        return in_chunks(lambda z: log_integral(log_weight(z), self.rule.weights))

    def average(self, function: Callable) -> Callable:
        """`(n, d)` to `(n, *shape)`: the conditional average of a function of the state, `(D,)` to `shape`."""
        log_weight = self.log_weight()
        values = self._over_nodes(lambda z, t: function(self.embed(z, t)))
        return in_chunks(lambda z: average(values(z), log_weight(z), self.rule.weights))

    def _over_nodes(self, function: Callable) -> Callable:
        batched = jax.jit(jax.vmap(jax.vmap(function, in_axes=(None, 0)), in_axes=(0, None)))
        return lambda z: np.asarray(batched(np.asarray(z, float), self.rule.nodes))


def in_chunks(function: Callable) -> Callable:
    """The same function of coarse values `(n, d)`, evaluated on a bounded number of them at once."""

    def chunked(z: Float[np.ndarray, "n d"]) -> np.ndarray:
        return np.concatenate([function(z[start : start + CHUNK]) for start in range(0, len(z), CHUNK)])

    return chunked


def unit_volume(_z: Float[Array, "d"], _t: Float[Array, "k"]) -> Float[Array, ""]:
    """The logarithm of a Jacobian of one."""
    return jnp.zeros(())


def projected_drift(system: OverdampedSystem, coarse: Callable) -> Callable:
    r"""State `(D,)` to `(d,)`: $\sum_i m_i (-\partial_i V \partial_i \xi_a + kT \partial_i^2 \xi_a)$."""

    def integrand(state: Float[Array, "D"]) -> Float[Array, "d"]:
        curvature = jnp.diagonal(jax.hessian(coarse)(state), axis1=-2, axis2=-1) @ system.mobility
        return jax.jacobian(coarse)(state) @ system.drift(state) + system.kT * curvature

    return integrand


def projected_diffusion(system: OverdampedSystem, coarse: Callable) -> Callable:
    r"""State `(D,)` to `(d, d)`: $kT \sum_i m_i \partial_i \xi_a \partial_i \xi_b$."""

    def integrand(state: Float[Array, "D"]) -> Float[Array, "d d"]:
        slope = jax.jacobian(coarse)(state)
        return system.kT * (slope * system.mobility[None, :]) @ slope.T

    return integrand


def fibre_answers(
    system: OverdampedSystem,
    coarse: Callable,
    embed: Callable,
    rule: Rule,
    *,
    known: str,
    sample_conditional: Callable,
    log_jacobian: Callable = unit_volume,
    hidden_indicator: Callable | None = None,
) -> ExactAnswers:
    """Every exact answer of an overdamped system whose fibres `embed` parametrises (arguments as in `Fibre`)."""
    fibre = Fibre(system.log_density, embed, log_jacobian, rule)
    log_marginal = fibre.log_marginal()
    mean = fibre.average(lambda state: state)
    second = fibre.average(lambda state: state**2)
    return ExactAnswers(
        known=known,
        free_energy=lambda z: -log_marginal(z),
        hidden_indicator=hidden_indicator,
        hidden_weight=fibre.average(hidden_indicator) if hidden_indicator else None,
        conditional_mean=mean,
        conditional_variance=lambda z: np.maximum(second(z) - mean(z) ** 2, 0.0),
        drift=fibre.average(projected_drift(system, coarse)),
        diffusion=fibre.average(projected_diffusion(system, coarse)),
        sample_conditional=sample_conditional,
    )


def line_sampler(log_density: Callable, embed: Callable, grid: Float[np.ndarray, "m"]) -> Callable:
    """`(z (d,), count, rng)` to `(count, D)`: exact draws from a fibre of one coordinate with unit Jacobian."""
    log_weight = jax.jit(jax.vmap(lambda z, t: log_density(embed(z, t)), in_axes=(None, 0)))
    place = jax.jit(jax.vmap(embed, in_axes=(None, 0)))

    def sample(z, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count D"]:
        z = np.asarray(z, float)
        free = sample_line(np.asarray(log_weight(z, grid[:, None])), grid, count, rng)
        return np.asarray(place(z, free[:, None]))

    return sample
