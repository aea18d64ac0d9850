r"""Micro–macro Markov chain Monte Carlo: a chain over the full Boltzmann distribution that jumps in z.

The chain lives on states (q, z), z a blurred coarse value, and leaves

$$\Pi(q, z) \propto \pi(q)\, g(z | \xi(q)), \qquad \pi(q) = e^{-V(q)/kT}, \qquad g(z | x) = N(z; x, s^2),$$

unchanged (g is cut half a period away where z is periodic). g is normalised in z for every x, so that the marginal of
q is π itself: frames of the chain need no weights. Three moves in turn make one cycle.

*Micro–macro move.*

1. Metropolis steps on z alone, at no cost, with an approximate density $\hat\mu(z) = e^{-\hat F(z)/kT}$. Together they
   are a kernel $K(z \to z')$ with $\hat\mu(z) K(z \to z') = \hat\mu(z') K(z' \to z)$, rejections included.
2. A draw of the generator, $q' \sim p_\theta(q' | z')$.
3. The pair is accepted with $\min(1, R)$. The density of the proposal is $K(z \to z') p_\theta(q' | z')$, so that

$$R = \frac{\Pi(q', z')\, K(z' \to z)\, p_\theta(q | z)}{\Pi(q, z)\, K(z \to z')\, p_\theta(q' | z')}
    = \frac{w(q', z')}{w(q, z)}, \qquad
  w(q, z) = \frac{\pi(q)\, g(z | \xi(q))}{\hat\mu(z)\, p_\theta(q | z)} :$$

reversibility turns the ratio of the kernels, which has no closed form after several steps, into that of $\hat\mu$. With
one macroscopic step this is delayed acceptance. Its first stage accepts with
$\min(1, \hat\mu(z') r(z' \to z) / \hat\mu(z) r(z \to z'))$, r the proposal of the step; the second corrects by the
ratio of Π over what the first stage and the lift have in detailed balance, $\hat\mu(z) p_\theta(q | z)$: again w.
Where no macroscopic step was accepted z′ = z, and lifting goes on: the same ratio holds, and the move is one between
hidden wells at fixed z.

w is constant where $\hat\mu$ is the density of z and $p_\theta$ is the window at z. That it is not costs acceptance and
never exactness. $p_\theta$ at the *current* state is that of the sampler: a state which the sampler cannot make, or a z
where $\hat\mu = 0$, has proposal density zero, so that w = ∞, and keeps its place; a draw whose round trip fails is
rejected. With an observation y = o(q) the generator's density is one of y, and gains $|\det \partial o/\partial q|$.

*Local moves.* Metropolis-adjusted Langevin steps that leave π(q) unchanged and know nothing of z.

*Refresh.* z is drawn from g(z | ξ(q)). Local moves alone would not keep Π. Followed by a refresh they do: the marginal
of q is kept, and z is drawn anew given it. The refresh therefore comes after them, before the next micro–macro move.

Sources: H. Vandecasteele and G. Samaey, SIAM Multiscale Model. Simul. (2023), arXiv:2002.09324, for the two levels with
direct reconstruction, and arXiv:2003.11962 for the indirect one, where a bias drives a state towards z; J. A. Christen
and C. Fox, J. Comput. Graph. Stat. 14, 795 (2005), for delayed acceptance. Here a generator with a density lifts, and
the blurred coarse value takes the place of a level set.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from micromacro.coupling.macro import MacroDensity
from micromacro.coupling.moves import log_volume, to_hidden
from micromacro.errors import InputError
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.mala import Walker, mala_step
from micromacro.sampling.proposal import ConditionalProposal


@dataclass(frozen=True)
class MicroMacroSettings:
    """What a cycle is made of: `macro_steps` on z alone and one lift, then `local_steps` of the local sampler.

    A cycle costs `1 + local_steps` force evaluations for a walker.

    **Raises:** `InputError` for fewer than one macroscopic step or negative numbers; no local steps at all are allowed.
    """

    macro_steps: int = 50
    local_steps: int = 5

    def __post_init__(self):
        for name, fewest in (("macro_steps", 1), ("local_steps", 0)):
            if getattr(self, name) < fewest:
                raise InputError(name, f"be at least {fewest}", getattr(self, name))

    @property
    def cost(self) -> int:
        """Force evaluations of one cycle of one walker."""
        return 1 + self.local_steps


class ChainState(NamedTuple):
    """The extended state: a walker that feels no bias, and its blurred coarse value `(d,)`."""

    walker: Walker
    coarse: Float[Array, "... d"]


class CycleInfo(NamedTuple):
    """Shares accepted in a cycle: of macroscopic steps, of the lifted pair (0 or 1), of local steps."""

    macro: Float[Array, "..."]
    micro: Float[Array, "..."]
    local: Float[Array, "..."]


class LocalTuning(NamedTuple):
    """Of the local sampler: step size `()` and scale `(D, D)`."""

    step_size: Float[Array, ""]
    scale: Float[Array, "D D"]


def log_target(macro: MacroDensity, walker: Walker, z: Float[Array, "d"]) -> Float[Array, ""]:
    """Logarithm of Π(q, z) up to a constant."""
    return walker.log_density + macro.log_blur(z, walker.coarse)


def log_proposal(macro: MacroDensity, z: Float[Array, "d"], log_prob: Float[Array, ""]) -> Float[Array, ""]:
    """Logarithm of μ̂(z) p(q|z), which the proposal alone would leave unchanged."""
    return macro.log_density(z) + log_prob


def micro_macro_move(
    engine: JaxEngine,
    generator: ConditionalProposal,
    macro: MacroDensity,
    steps: int,
    state: ChainState,
    key: Key[Array, ""],
) -> tuple[ChainState, Float[Array, ""], Float[Array, ""]]:
    """One move of one chain in z, lifted by the generator; one force evaluation.

    **Returns:** the state, the share of macroscopic steps accepted, and whether the pair was, as 0 or 1.
    """
    macro_key, draw_key, uniform_key = jax.random.split(key, 3)
    system, walker = engine.system, state.walker
    z, macro_accepted = macro.chain(state.coarse, steps, macro_key)
    draw = generator.sample_and_log_prob(z, draw_key)
    position, reachable = to_hidden(system, draw.state.astype(walker.position.dtype))
    proposal = evaluate_unbiased(engine, position)
    new = log_target(macro, proposal, z) - log_proposal(macro, z, draw.log_prob + log_volume(system, position))
    log_prob, made = generator.log_prob(system.observe(walker.position), state.coarse)
    known = log_proposal(macro, state.coarse, log_prob + log_volume(system, walker.position))
    made = made & (known > -jnp.inf)
    old = jnp.where(made, log_target(macro, walker, state.coarse) - known, jnp.inf)
    usable = draw.valid & reachable & jnp.isfinite(new) & jnp.all(jnp.isfinite(proposal.gradient))
    accepted = usable & made & (jnp.log(jax.random.uniform(uniform_key, (), new.dtype)) < new - old)
    moved = jax.tree.map(partial(jnp.where, accepted), ChainState(proposal, z), state)
    return moved, macro_accepted, accepted.astype(new.dtype)


def evaluate_unbiased(engine: JaxEngine, position: Float[Array, "D"]) -> Walker:
    """A walker without any bias."""
    log_density, gradient = jax.value_and_grad(engine.system.log_density)(position)
    return Walker(position, engine.coarse_of(position), log_density, log_density, gradient)


def local_moves(
    engine: JaxEngine, tuning: LocalTuning, steps: int, walker: Walker, key: Key[Array, ""]
) -> tuple[Walker, Float[Array, ""]]:
    """Local steps of one walker that leave π(q) unchanged, and the share accepted."""
    noise_key, uniform_key = jax.random.split(key)
    shape = (steps, *walker.position.shape)
    noise = jax.random.normal(noise_key, shape, jnp.float32).astype(walker.position.dtype)
    log_uniform = jnp.log(jax.random.uniform(uniform_key, (steps,)))

    def step(walker: Walker, numbers: tuple[Array, Array]):
        return mala_step(partial(evaluate_unbiased, engine), walker, *tuning, *numbers)

    walker, accepted = jax.lax.scan(step, walker, (noise, log_uniform))
    return walker, jnp.sum(accepted) / max(steps, 1)


def cycle(
    engine: JaxEngine,
    generator: ConditionalProposal,
    macro: MacroDensity,
    tuning: LocalTuning,
    settings: MicroMacroSettings,
    state: ChainState,
    key: Key[Array, ""],
) -> tuple[ChainState, CycleInfo]:
    """One cycle of one chain: micro–macro move, local moves, refresh; each in turn keeps Π."""
    move_key, local_key, refresh_key = jax.random.split(key, 3)
    state, macro_accepted, micro = micro_macro_move(engine, generator, macro, settings.macro_steps, state, move_key)
    walker, local = local_moves(engine, tuning, settings.local_steps, state.walker, local_key)
    return ChainState(walker, macro.refresh(walker.coarse, refresh_key)), CycleInfo(macro_accepted, micro, local)
