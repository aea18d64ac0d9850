"""Generator moves: independence Metropolis with the exact ratio."""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from micromacro.generators.elimination import solve_with_determinant
from micromacro.molecules.system import AnySystem, MolecularSystem
from micromacro.sampling.engine import Engine
from micromacro.sampling.mala import Walker
from micromacro.sampling.proposal import ConditionalProposal
from micromacro.sampling.windows import Windows
from micromacro.systems.model import identity


class MoveInfo(NamedTuple):
    """Of each walker `(windows, walkers)`: whether it jumped, and log π(q)/p(q|z) of its proposal and its last state.

    That of a proposal is minus infinity where it was not usable, that of a state infinite where the sampler cannot make
    it.
    """

    accepted: Bool[Array, "..."]
    log_weight: Float[Array, "..."]
    log_weight_before: Float[Array, "..."]


class Proposal(NamedTuple):
    """What a generator proposes to each walker `(windows, walkers)`, with the densities of both ways.

    `position` is a state that can be simulated: the walker's own where the draw is not `usable`. `log_new` and
    `log_old` are the densities that the generator gives to the proposal and to where the walker is, as simulated
    states; `made`: the sampler can make the latter. `log_uniform`: what decides.
    """

    position: Float[Array, "... D"]
    log_new: Float[Array, "..."]
    log_old: Float[Array, "..."]
    usable: Bool[Array, "..."]
    made: Bool[Array, "..."]
    log_uniform: Float[Array, "..."]


@dataclass
class GeneratorMoves:
    """Metropolis moves of every walker to a draw of the generator at the centre of its window.

    Accepts with $min(1, π_z(q′) p(q|z) / (π_z(q) p(q′|z)))$. A proposal whose round trip through the sampler fails is
    rejected; a walker whose state the sampler cannot make keeps its place: the chain stays exact. Energies are those of
    the engine, whatever it is.
    """

    engine: Engine

    def __post_init__(self):
        self._propose = eqx.filter_jit(self._propose_batch)

    def __call__(
        self, generator: ConditionalProposal, windows: Windows, walkers: Walker, key: Key[Array, ""]
    ) -> tuple[Walker, MoveInfo]:
        """One move of every walker; one force evaluation each."""
        asked = {"centers": windows.centers, "position": walkers.position, "key": jax.random.key_data(key)}
        found = self.engine.once(
            "propose", asked, lambda: self._propose(generator, windows.centers, walkers.position, key)
        )
        proposed = Proposal(*(jnp.asarray(array) for array in found))
        return accept(walkers, self.engine.start(windows, proposed.position), proposed)

    def _propose_batch(self, generator, centers, positions, key):
        def per_walker(center, position, walker_key):
            return propose(self.engine.system, generator, center, position, walker_key)

        keys = jax.random.split(key, positions.shape[:2])
        return jax.vmap(jax.vmap(per_walker, in_axes=(None, 0, 0)))(centers, positions, keys)


def propose(
    system: AnySystem,
    generator: ConditionalProposal,
    center: Float[Array, "d"],
    position: Float[Array, "D"],
    key: Key[Array, ""],
) -> Proposal:
    """A draw of the generator for one walker. Source: Tierney, Ann. Stat. 22, 1701 (1994), section 2.3.3."""
    draw_key, uniform_key = jax.random.split(key)
    draw = generator.sample_and_log_prob(center, draw_key)
    state, reachable = to_hidden(system, draw.state.astype(position.dtype))
    log_new = draw.log_prob + log_volume(system, state)
    log_old, made = generator.log_prob(system.observe(position), center)
    usable = draw.valid & reachable & jnp.isfinite(log_new)
    return Proposal(
        jnp.where(usable, state, position),
        log_new,
        log_old + log_volume(system, position),
        usable,
        made,
        jnp.log(jax.random.uniform(uniform_key)),
    )


@jax.jit
def accept(walkers: Walker, there: Walker, proposed: Proposal) -> tuple[Walker, MoveInfo]:
    """The walkers after the decision; `there` are those at the proposed positions."""
    log_weight = there.log_target - proposed.log_new
    finite = jnp.isfinite(log_weight) & jnp.all(jnp.isfinite(there.gradient), axis=-1)
    usable = proposed.usable & finite
    before = jnp.where(proposed.made, walkers.log_target - proposed.log_old, jnp.inf)
    accepted = usable & proposed.made & (proposed.log_uniform < log_weight - before)

    def chosen(new: Array, old: Array) -> Array:
        return jnp.where(accepted.reshape(accepted.shape + (1,) * (new.ndim - accepted.ndim)), new, old)

    info = MoveInfo(accepted, jnp.where(usable, log_weight, -jnp.inf), before)
    return jax.tree.map(chosen, there, walkers), info


def to_hidden(system: AnySystem, observed: Float[Array, "Y"]) -> tuple[Float[Array, "D"], Bool[Array, ""]]:
    """The simulated state of an observed one, and whether observing it leads back."""
    assert system.hidden is not None, "a system without an inverse of its observation cannot be moved by a generator"
    state = system.hidden(observed)
    missed = system.observe(state) - observed
    if isinstance(system, MolecularSystem):
        missed = system.internal.space.difference(missed, jnp.zeros_like(missed))
    return state, jnp.all(jnp.abs(missed) <= 1e-6 * (1 + jnp.abs(observed)))


def log_volume(system: AnySystem, state: Float[Array, "D"]) -> Float[Array, ""]:
    """The logarithm of |det ∂observe/∂x|: what a density of observed states gains as one of simulated states."""
    if isinstance(system, MolecularSystem):
        return system.log_volume(state)
    if system.observe is identity:
        return jnp.zeros((), state.dtype)
    return solve_with_determinant(jax.jacfwd(system.observe)(state), state).log_determinant
