"""Values of pairs: the critic of a Wasserstein generative adversarial network, and what it minimises."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.coordinates.space import wrap
from micromacro.generators.condition import Condition, state_feature_count, state_features
from micromacro.generators.perceptron import Perceptron, leaky
from micromacro.generators.representation import Layout
from micromacro.generators.training import Pairs

HARMONICS = 1


class Critic(eqx.Module):
    """A number for a represented state given z: how real it looks. An angle is seen as its cosine and sine."""

    condition: Condition
    network: Perceptron
    layout: Layout = eqx.field(static=True)

    @classmethod
    def new(
        cls,
        layout: Layout,
        condition: Condition,
        width: int,
        depth: int,
        key: Key[Array, ""],
        activation: Callable = leaky,
    ) -> "Critic":
        """An untrained one; `activation` of its hidden layers."""
        inputs = state_feature_count(layout, HARMONICS) + condition.size
        return cls(condition, Perceptron(inputs, 1, width, depth, key, activation), layout)

    def features(self, state: Float[Array, "Y"], z: Float[Array, "d"]) -> Float[Array, "features"]:
        """What the network sees of a pair: without a jump where an angle comes round."""
        return jnp.concatenate([state_features(state, self.layout, HARMONICS), self.condition(z)])

    def __call__(self, state: Float[Array, "Y"], z: Float[Array, "d"]) -> Float[Array, ""]:
        """The value of one pair."""
        return self.network(self.features(state, z))[0]


def critic_loss(
    critic: Critic, pairs: Pairs, made: Float[Array, "batch Y"], weight: float, key: Key[Array, ""]
) -> Float[Array, ""]:
    r"""$E f(\hat x, z) - E f(x, z)$ with the weighted gradient penalty.

    **Arguments:**

    - `pairs`: data `(batch, ...)`; `made`: states that the generator made at the same conditions.
    """
    states, z = jnp.concatenate([pairs.state, made]), jnp.concatenate([pairs.z, pairs.z])
    value = jax.vmap(critic)(states, z)
    batch = len(made)
    return jnp.mean(value[batch:]) - jnp.mean(value[:batch]) + weight * gradient_penalty(critic, pairs, made, key)


def gradient_penalty(
    critic: Critic, pairs: Pairs, made: Float[Array, "batch Y"], key: Key[Array, ""]
) -> Float[Array, ""]:
    r"""$E (|\nabla_x f(\tilde x, z)| - 1)^2$, x̃ anywhere between a state and one made at the same condition.

    The gradient is that by the state alone: at each z the critic measures a distance between two laws of states, and
    may depend on z as it likes. Angles are joined by the shortest way round. Source: Gulrajani et al., NeurIPS 2017.
    """
    along = jax.random.uniform(key, (len(made), 1), jnp.float32)
    between = pairs.state + along * wrap(made - pairs.state, _period(critic.layout))
    gradient = jax.vmap(jax.grad(critic))(between, pairs.z)
    # the root must have a slope where a gradient is zero
    size = jnp.sqrt(jnp.sum(gradient**2, axis=1) + np.float32(1e-12))
    return jnp.mean((size - 1) ** 2)


def _period(layout: Layout) -> Float[np.ndarray, "Y"]:
    return np.concatenate([np.full(layout.reals, np.inf), np.full(layout.circles, 2 * np.pi)])
