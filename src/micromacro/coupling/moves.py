"""Generator moves: independence Metropolis with the exact ratio."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from micromacro.generators.elimination import solve_with_determinant
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.mala import Walker
from micromacro.sampling.proposal import ConditionalProposal
from micromacro.sampling.windows import Windows
from micromacro.systems.model import System, identity


class MoveInfo(NamedTuple):
    """Of each walker `(windows, walkers)`: whether it jumped, and log π(q)/p(q|z) of its proposal and its last state.

    That of a proposal is minus infinity where it was not usable, that of a state infinite where the sampler cannot make
    it.
    """

    accepted: Bool[Array, "..."]
    log_weight: Float[Array, "..."]
    log_weight_before: Float[Array, "..."]


@dataclass
class GeneratorMoves:
    """Metropolis moves of every walker to a draw of the generator at the centre of its window.

    Accepts with $min(1, π_z(q′) p(q|z) / (π_z(q) p(q′|z)))$. A proposal whose round trip through the sampler fails is
    rejected; a walker whose state the sampler cannot make keeps its place: the chain stays exact.
    """

    engine: JaxEngine

    def __post_init__(self):
        self._move = eqx.filter_jit(self._move_batch)

    def __call__(
        self, generator: ConditionalProposal, windows: Windows, walkers: Walker, key: Key[Array, ""]
    ) -> tuple[Walker, MoveInfo]:
        """One move of every walker; one force evaluation each."""
        self.engine.evaluations += walkers.log_target.size
        return self._move(generator, windows, walkers, key)

    def _move_batch(self, generator, windows, walkers, key):
        def per_walker(center, walker, walker_key):
            return generator_move(self.engine, generator, windows, center, walker, walker_key)

        shape = walkers.log_target.shape
        keys = jax.random.split(key, shape)
        return jax.vmap(jax.vmap(per_walker, in_axes=(None, 0, 0)))(windows.centers, walkers, keys)


def generator_move(
    engine: JaxEngine,
    generator: ConditionalProposal,
    windows: Windows,
    center: Float[Array, "d"],
    walker: Walker,
    key: Key[Array, ""],
) -> tuple[Walker, MoveInfo]:
    """One move of one walker. Source: Tierney, Ann. Stat. 22, 1701 (1994), section 2.3.3."""
    draw_key, uniform_key = jax.random.split(key)
    system = engine.system
    draw = generator.sample_and_log_prob(center, draw_key)
    target_state, reachable = to_hidden(system, draw.state.astype(walker.position.dtype))
    proposal = engine.evaluate(center, windows, target_state)
    log_new = draw.log_prob + log_volume(system, target_state)
    log_old, made = generator.log_prob(system.observe(walker.position), center)
    log_old = log_old + log_volume(system, walker.position)
    log_weight = proposal.log_target - log_new
    usable = draw.valid & reachable & jnp.isfinite(log_weight) & jnp.all(jnp.isfinite(proposal.gradient))
    log_weight_before = jnp.where(made, walker.log_target - log_old, jnp.inf)
    log_ratio = log_weight - log_weight_before
    accepted = usable & made & (jnp.log(jax.random.uniform(uniform_key)) < log_ratio)
    moved = jax.tree.map(partial(jnp.where, accepted), proposal, walker)
    return moved, MoveInfo(accepted, jnp.where(usable, log_weight, -jnp.inf), log_weight_before)


def to_hidden(system: System, observed: Float[Array, "Y"]) -> tuple[Float[Array, "D"], Bool[Array, ""]]:
    """The simulated state of an observed one, and whether observing it leads back."""
    assert system.hidden is not None, "a system without an inverse of its observation cannot be moved by a generator"
    state = system.hidden(observed)
    returned = system.observe(state)
    return state, jnp.all(jnp.abs(returned - observed) <= 1e-6 * (1 + jnp.abs(observed)))


def log_volume(system: System, state: Float[Array, "D"]) -> Float[Array, ""]:
    """The logarithm of |det ∂observe/∂x|: what a density of observed states gains as one of simulated states."""
    if system.observe is identity:
        return jnp.zeros((), state.dtype)
    return solve_with_determinant(jax.jacfwd(system.observe)(state), state).log_determinant
