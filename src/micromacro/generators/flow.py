"""The conditional normalising flow: autoregressive splines, exact density in one pass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from micromacro.generators.autoregressive import Autoregressive, over_batch
from micromacro.generators.base import Base
from micromacro.generators.condition import Condition
from micromacro.generators.descent import Descent
from micromacro.generators.family import Family, minimise
from micromacro.generators.representation import Layout
from micromacro.generators.training import Pairs, TrainingSettings
from micromacro.sampling.proposal import Draw


import os; ORDER = [c == "1" for c in os.environ.get("ORDER", "01")]


class FlowModel(eqx.Module):
    """Layers that lead from represented states to a base.

    **Arguments:**

    - `layers`: the first is nearest to the state; every other one takes the coordinates backwards.
    """

    condition: Condition
    layers: list[Autoregressive]
    layout: Layout = eqx.field(static=True)

    @property
    def base(self) -> Base:
        """The law that the layers lead to: standard normal numbers and uniform angles."""
        return Base(self.layout, 1.0)

    def draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One represented state given z."""
        features = self.condition(z)
        x = self.base.draw(key)
        for layer in reversed(self.layers):
            x = layer.inverse(x, features)
        return x

    def log_prob(self, x: Float[Array, "Y"], z: Float[Array, "d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """The log-density of a state; it is known of every state whose density single precision can hold."""
        value = self.log_density(x, self.condition(z))
        known = jnp.isfinite(value)
        return jnp.where(known, value, -jnp.inf), known

    def log_density(
        self, x: Float[Array, "Y *batch"], features: Float[Array, "features *batch"]
    ) -> Float[Array, "*batch"]:
        r"""$\log p(x) = \log p_0(u) + \sum_i \log \partial u_i / \partial x_i$, with u at the end of all layers."""
        total = jnp.zeros(x.shape[1:], jnp.float32)
        for layer in self.layers:
            x, log_slope = layer.forward(x, features)
            total = total + jnp.sum(log_slope, axis=0)
        return total + over_batch(self.base.log_prob, x)

    def draw_with_density(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw, and its density as a function of the state alone, so that Metropolis moves are exact."""
        x = self.draw(z, key)
        return Draw(x, *self.log_prob(x, z))

    def weighted_draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """The same: the way back is no dearer than the way here."""
        return self.draw_with_density(z, key)


def negative_log_likelihood(model: FlowModel, pairs: Pairs, key: Key[Array, ""]) -> Float[Array, ""]:  # noqa: ARG001
    """The mean over pairs, in nats; its least value is the entropy of the states given z."""
    return -jnp.mean(model.log_density(pairs.state.T, over_batch(model.condition, pairs.z.T)))


@dataclass(frozen=True)
class FlowSettings(Family):
    """How the flow is built and trained; sizes are derived from the dimension where left out."""

    kind: ClassVar[str] = "flow"
    width: int | None = None
    depth: int = 2
    layers: int | None = None
    knots: int = 16
    training_steps: int | None = None
    batch_size: int = 512
    learning_rate: float = 3e-3

    @property
    def has_density(self) -> bool:
        """It has."""
        return True

    def build(self, layout: Layout, condition: Condition, key: Key[Array, ""]) -> FlowModel:
        """The identity, from the base to represented states."""
        sizes = self.width_for(layout.dimension), self.depth, self.knots
        keys = jax.random.split(key, self.layers_for(layout.dimension))
        layers = [
            Autoregressive.new(layout, condition.size, sizes, ORDER[number % len(ORDER)], key) for number, key in enumerate(keys)
        ]
        return FlowModel(condition, layers, layout)

    def learn(self, model: Any, data, weight, keys, steps: int, on_chunk: Callable[[int], None]) -> Any:
        """Maximum likelihood."""
        training = TrainingSettings(steps, self.batch_size, self.learning_rate)
        return minimise(Descent(negative_log_likelihood), model, data, weight, training, keys, on_chunk)

    def steps_for(self, dimension: int, *, warm: bool) -> int:
        """3000 unless given; a third of them to go on from a previous generator."""
        steps = self.training_steps or 3000
        return max(250, steps // 3) if warm else steps

    def layers_for(self, dimension: int) -> int:
        return self.layers or 2

    def width_for(self, dimension: int) -> int:
        """The width of the networks."""
        return self.width or (64 if dimension <= 3 else 32)
