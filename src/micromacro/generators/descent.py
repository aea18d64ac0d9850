"""Minimising one loss: Adam with a warm-up, a cosine decay and clipped gradients; weights averaged along the way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from micromacro.generators.training import Pairs

WARM_UP = 200
LARGEST_GRADIENT = 1.0
AVERAGED_SHARE = 0.05

Loss = Callable[[Any, Pairs, Key[Array, ""]], Float[Array, ""]]


class Schedule(NamedTuple):
    """Where a learning rate stands: steps done, steps in all, its peak."""

    done: Float[Array, ""]
    total: Float[Array, ""]
    peak: Float[Array, ""]

    @classmethod
    def of(cls, steps: int, peak: float) -> "Schedule":
        """The beginning of a schedule."""
        return cls(*(jnp.asarray(value, jnp.float32) for value in (0, steps, peak)))

    @property
    def rate(self) -> Float[Array, ""]:
        """The learning rate now: a linear warm-up, then half a cosine to zero."""
        warm_up = jnp.minimum(WARM_UP, self.total / 10)
        rising = (self.done + 1) / jnp.maximum(warm_up, 1)
        part = jnp.clip((self.done - warm_up) / jnp.maximum(self.total - warm_up, 1), 0, 1)
        return self.peak * jnp.where(self.done < warm_up, rising, 0.5 * (1 + jnp.cos(jnp.pi * part)))

    @property
    def decay(self) -> Float[Array, ""]:
        """Of averaged weights: over the last twentieth of the steps."""
        return 1 - 1 / jnp.maximum(20.0, AVERAGED_SHARE * self.total)

    def advanced(self) -> "Schedule":
        """One step on."""
        return self._replace(done=self.done + 1)


class DescentState(NamedTuple):
    """The model, its averaged weights, the optimiser, the schedule."""

    model: Any
    averaged: Any
    optimiser: Any
    schedule: Schedule


@dataclass(frozen=True)
class Descent:
    """The `Objective` of a loss: (model, pairs `(batch, ...)`, key) to a scalar.

    **Arguments:**

    - `judged_by`: the loss on held-out pairs that validation judges by; `loss` where left out.
    """

    loss: Loss
    judged_by: Loss | None = None
    batches: int = 1
    scatter: float = 0.0

    def start(self, model: Any, steps: int, learning_rate: float) -> DescentState:
        """Nothing done yet."""
        state = _optimiser().init(eqx.filter(model, eqx.is_inexact_array))
        return DescentState(model, model, state, Schedule.of(steps, learning_rate))

    def improve(
        self, carry: DescentState, pairs: Pairs, key: Key[Array, ""], rate: Float[Array, ""]
    ) -> tuple[DescentState, Float[Array, ""]]:
        """One step of Adam."""
        batch = jax.tree.map(lambda part: part.reshape(-1, part.shape[-1]), pairs)
        value, gradient = eqx.filter_value_and_grad(self.loss)(carry.model, batch, key)
        step, state = _optimiser().update(gradient, carry.optimiser)
        size = -carry.schedule.rate * rate
        model = eqx.apply_updates(carry.model, jax.tree.map(lambda part: size * part, step))
        averaged = average(carry.averaged, model, carry.schedule.decay)
        return DescentState(model, averaged, state, carry.schedule.advanced()), value

    def result(self, carry: DescentState) -> Any:
        """The averaged weights."""
        return carry.averaged

    def judge(self, model: Any, pairs: Pairs, key: Key[Array, ""]) -> Float[Array, ""]:
        """The loss on held-out pairs."""
        return (self.judged_by or self.loss)(model, pairs, key)


def average(averaged: Any, model: Any, decay: Float[Array, ""]) -> Any:
    """The exponential moving average of every floating-point array of a model."""

    def mean(old, new):
        return decay * old + (1 - decay) * new if eqx.is_inexact_array(new) else new

    return jax.tree.map(mean, averaged, model)


def stratified_quantiles(count: int, key: Key[Array, ""]) -> Float[Array, "count"]:
    """One uniform number from each of `count` equal strata of [0, 1), in random order."""
    within, order = jax.random.split(key)
    quantile = (jnp.arange(count) + jax.random.uniform(within, (count,), jnp.float32)) / count
    return jax.random.permutation(order, quantile)


def _optimiser() -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(LARGEST_GRADIENT), optax.scale_by_adam())
