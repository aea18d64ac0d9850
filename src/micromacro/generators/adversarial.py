"""Wasserstein adversarial training: several steps of the critic, then one of the generator.

Sources: Arjovsky, Chintala & Bottou, ICML 2017; Gulrajani, Ahmed, Arjovsky, Dumoulin & Courville, NeurIPS 2017,
algorithm 1; averaged generators: Yazıcı, Foo, Winkler, Yap, Piliouras & Chandrasekhar, ICLR 2019.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from micromacro.generators.critic import Critic, critic_loss
from micromacro.generators.descent import Schedule, average
from micromacro.generators.training import Pairs

# no momentum: what a player climbs moves with the other
FIRST_MOMENT, SECOND_MOMENT = 0.0, 0.9
AVERAGED_STEPS = 1000
AVERAGED_SHARE = 1 / 6
DIRECTIONS = 128


@runtime_checkable
class Players(Protocol):
    """A model with two networks that learn against each other."""

    @property
    def generator(self) -> Any:
        """What makes states."""
        ...

    @property
    def critic(self) -> Critic:
        """What tells them from data."""
        ...

    def make(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """A represented state by the generator."""
        ...


class Contest(NamedTuple):
    """Both players, their averaged weights, an optimiser of each, the schedule."""

    model: Any
    averaged: Any
    generator_optimiser: Any
    critic_optimiser: Any
    schedule: Schedule


@dataclass(frozen=True)
class Adversarial:
    """The `Objective` of Wasserstein adversarial training.

    **Arguments:**

    - `critic_steps`: for each step of the generator, each on pairs of its own.
    - `penalty`: weight of the gradient penalty of the critic.
    """

    critic_steps: int
    penalty: float

    @property
    def batches(self) -> int:
        """One for each step of the critic."""
        return self.critic_steps

    @property
    def scatter(self) -> float:
        """The distance of two samples of equal laws is not zero, and scatters by a fifth."""
        return 0.2

    def start(self, model: Players, steps: int, learning_rate: float) -> Contest:
        """Nothing done yet."""
        generator, critic = (
            _optimiser().init(eqx.filter(one, eqx.is_inexact_array)) for one in (model.generator, model.critic)
        )
        return Contest(model, model, generator, critic, Schedule.of(steps, learning_rate))

    def improve(
        self, carry: Contest, pairs: Pairs, key: Key[Array, ""], rate: Float[Array, ""]
    ) -> tuple[Contest, Float[Array, ""]]:
        """Steps of the critic and one of the generator; the loss is the critic's, whose size is the distance left."""
        size = carry.schedule.rate * rate
        between_key, fake_key, generator_key = jax.random.split(key, 3)
        # the generator rests meanwhile: one pass makes what all steps of the critic look at
        made = _made(carry.model, pairs.z.reshape(-1, pairs.z.shape[-1]), fake_key).reshape(pairs.state.shape)
        arrays, rest = eqx.partition(carry.model.critic, eqx.is_array)

        def one(carry, inputs):
            (arrays, state), (batch, made, key) = carry, inputs
            critic = eqx.combine(arrays, rest)
            value, gradient = eqx.filter_value_and_grad(critic_loss)(critic, batch, made, self.penalty, key)
            critic, state = _step(critic, gradient, state, size)
            return (eqx.filter(critic, eqx.is_array), state), value

        inputs = pairs, made, jax.random.split(between_key, self.critic_steps)
        (arrays, state), value = jax.lax.scan(one, (arrays, carry.critic_optimiser), inputs)
        critic = eqx.combine(arrays, rest)
        model = eqx.tree_at(lambda model: model.critic, carry.model, critic)
        gradient = eqx.filter_grad(_generator_loss)(model.generator, model, pairs.z[-1], generator_key)
        generator, generator_state = _step(model.generator, gradient, carry.generator_optimiser, size)
        model = eqx.tree_at(lambda model: model.generator, model, generator)
        averaged = average(carry.averaged, model, _decay(carry.schedule))
        return Contest(model, averaged, generator_state, state, carry.schedule.advanced()), value[-1]

    def result(self, carry: Contest) -> Any:
        """The averaged weights."""
        return carry.averaged

    def judge(self, model: Players, pairs: Pairs, key: Key[Array, ""]) -> Float[Array, ""]:
        """The sliced Wasserstein distance between held-out pairs and as many states made at their conditions.

        A critic's value says nothing across time: it measures by a ruler that moves. This one stands still.
        """
        features = jax.vmap(model.critic.features)
        made = Pairs(_made(model, pairs.z, key), pairs.z)
        return sliced_distance(*(features(*joint) for joint in (pairs, made)))


def sliced_distance(first: Float[Array, "n F"], second: Float[Array, "n F"]) -> Float[Array, ""]:
    """The mean Wasserstein-1 distance of projections on fixed directions. Source: Rabin et al., SSVM 2011, 435."""
    towards = np.random.default_rng(0).normal(size=(first.shape[1], DIRECTIONS))
    towards = np.asarray(towards / np.linalg.norm(towards, axis=0), np.float32)
    return jnp.mean(jnp.abs(jnp.sort(first @ towards, axis=0) - jnp.sort(second @ towards, axis=0)))


def _generator_loss(generator: Any, model: Players, z: Float[Array, "batch d"], key: Array) -> Float[Array, ""]:
    model = eqx.tree_at(lambda model: model.generator, model, generator)
    return -jnp.mean(jax.vmap(model.critic)(_made(model, z, key), z))


def _made(model: Players, z: Float[Array, "batch d"], key: Array) -> Float[Array, "batch Y"]:
    return jax.vmap(model.make)(z, jax.random.split(key, len(z)))


def _step(player: Any, gradient: Any, state: Any, size: Float[Array, ""]) -> tuple[Any, Any]:
    step, state = _optimiser().update(gradient, state)
    return eqx.apply_updates(player, jax.tree.map(lambda part: -size * part, step)), state


def _decay(schedule: Schedule) -> Float[Array, ""]:
    """Of averaged weights: over the last thousand steps, less in short trainings."""
    return 1 - 1 / jnp.maximum(20.0, jnp.minimum(AVERAGED_STEPS, AVERAGED_SHARE * schedule.total))


def _optimiser() -> optax.GradientTransformation:
    return optax.scale_by_adam(FIRST_MOMENT, SECOND_MOMENT)
