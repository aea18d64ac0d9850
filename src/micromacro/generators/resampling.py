r"""Draws chosen from several candidates by the ratio of two densities, which a classifier learns.

A classifier that tells data from draws at best has the logit $\log p(x | z) / g(x | z)$. Candidates taken in proportion
to the ratio are draws from p, the closer the more of them, where g covers it: what a generator makes between wells is
then hardly taken, and a little blur lets g cover what it missed. Sources: Turner, Hung, Frank, Saatchi & Yosinski,
Metropolis-Hastings generative adversarial networks, ICML 2019; Gutmann & Hyvärinen, JMLR 2012, 307, for the logit;
Rubin, JASA 1987, 543, for taking one of many candidates.
"""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from micromacro.generators.critic import Critic
from micromacro.generators.training import Pairs


@runtime_checkable
class Candidates(Protocol):
    """A model that makes candidates and holds the logarithm of the ratio of densities."""

    @property
    def log_ratio(self) -> Critic:
        """The logarithm of the data's density over that of candidates, at a state and a condition."""
        ...

    def propose(self, z: Float[Array, "d"], key: Key[Array, ""], count: int) -> Float[Array, "count Y"]:
        """Represented states to choose from."""
        ...


def choose(model: Candidates, count: int, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
    """One of `count` candidates, taken with probability proportional to its ratio."""
    candidate_key, choice_key = jax.random.split(key)
    states = model.propose(z, candidate_key, count)
    log_ratio = jax.vmap(lambda state: model.log_ratio(state, z))(states)
    return states[jax.random.categorical(choice_key, log_ratio)]


def ratio_loss(model: Candidates, pairs: Pairs, key: Key[Array, ""]) -> Float[Array, ""]:
    """The cross-entropy of telling pairs from candidates at the same conditions; only the ratio has a gradient."""
    arrays, rest = eqx.partition(model, eqx.is_array)
    resting = eqx.combine(jax.lax.stop_gradient(arrays), rest)
    made = jax.vmap(lambda z, key: resting.propose(z, key, 1)[0])(pairs.z, jax.random.split(key, len(pairs.z)))
    real, unreal = (jax.vmap(model.log_ratio)(state, pairs.z) for state in (pairs.state, made))
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(unreal))
