r"""Conditional flow matching: a velocity field that carries a base to the data along straight lines and geodesics.

With $x_0$ from the base and $x_1$ a state, paired at random, $x_t = x_0 + t \delta$ where $\delta = x_1 - x_0$, taken
the short way round for angles; the field is $v(x, t) = E[\delta | x_t = x]$. Pairs are not matched by optimal transport
within batches, known to bias conditional models. Sources: Lipman et al., Flow matching for generative modeling,
ICLR 2023; Chen & Lipman, Flow matching on general geometries, ICLR 2024, for circles.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.coordinates.space import Space
from micromacro.generators.base import Base, wrap_angles
from micromacro.generators.condition import Condition, state_feature_count, state_features
from micromacro.generators.descent import Descent, stratified_quantiles
from micromacro.generators.diffusion import Chain, ChainModel
from micromacro.generators.family import Family, a_third
from micromacro.generators.network import Network, width_by_dimension
from micromacro.generators.representation import Layout
from micromacro.generators.training import Pairs, TrainingSettings, train

# training sees times of normal logits: most of them late, where the data take shape
LOGIT_MEAN, LOGIT_DEVIATION = 1.2, 1.5
# of the difference of two uniform angles
ANGULAR_SPEED = np.float32(np.pi / np.sqrt(3))
# keeps the time that the network sees finite at both ends
END = 0.01
# steps of the sampler grow shorter towards the data: 1 - t is this power of equal steps
LATE = 1.5


class Velocity(eqx.Module):
    """The field of a network on inputs and outputs of unit size.

    **Arguments:**

    - `layout`: real numbers, of unit variance, then angles.
    """

    condition: Condition
    network: Network
    layout: Layout = eqx.field(static=True)

    def output(
        self, x: Float[Array, "Y"], features: Float[Array, "features"], t: Float[Array, ""]
    ) -> Float[Array, "Y"]:
        """The network; its time is the logarithm of noise over signal."""
        scaled = x / self.layout.of_reals(size(t), 1.0)
        time = jnp.log((1 - t + END) / (t + END)) / 4
        return self.network(state_features(scaled, self.layout), features, time)

    def __call__(
        self, x: Float[Array, "Y"], features: Float[Array, "features"], t: Float[Array, ""]
    ) -> Float[Array, "Y"]:
        """v(x, t): the exact one of normal data, and what the network adds."""
        output, reals = self.output(x, features, t), self.layout.reals
        straight = (2 * t - 1) / size(t) ** 2 * x[:reals] + output[:reals] / size(t)
        return jnp.concatenate([straight, ANGULAR_SPEED * output[reals:]])


def size(t: Float[Array, ""]) -> Float[Array, ""]:
    """The deviation of $x_t$ where the data have unit variance."""
    return jnp.sqrt(t**2 + (1 - t) ** 2)


class MatchingModel(ChainModel):
    """A velocity field and the Heun steps that follow it, with the exact density of what these make."""

    velocity: Velocity
    sampler_steps: int = eqx.field(static=True)

    def chain(self, z: Float[Array, "d"]) -> Chain:
        """The steps given z, shorter towards the data."""
        features = self.velocity.condition(z)
        times = 1 - (1 - np.linspace(0, 1, self.sampler_steps + 1)) ** LATE
        extent = np.ones(self.sampler_steps, np.float32)
        base = Base(self.velocity.layout, 1.0)
        return Chain(lambda x, t: self.velocity(x, features, t), times.astype(np.float32), base, extent)


def matching_loss(model: MatchingModel, pairs: Pairs, key: Key[Array, ""]) -> Float[Array, ""]:
    """The mean squared error of the network's output, its times stratified over the batch."""
    velocity, layout = model.velocity, model.velocity.layout
    time_key, base_key = jax.random.split(key)
    batch = len(pairs.state)
    normal = jax.scipy.special.ndtri(jnp.clip(stratified_quantiles(batch, time_key), 1e-5, 1 - 1e-5))
    times = jax.nn.sigmoid(LOGIT_MEAN + LOGIT_DEVIATION * normal)
    start = jax.vmap(Base(layout, 1.0).draw)(jax.random.split(base_key, batch))

    def one(x0, x1, z, t):
        delta = wrap_angles(x1 - x0, layout)
        x = x0 + t * delta
        reals = layout.reals
        straight = size(t) * delta[:reals] - (2 * t - 1) / size(t) * x[:reals]
        target = jnp.concatenate([straight, delta[reals:] / ANGULAR_SPEED])
        return jnp.sum((velocity.output(x, velocity.condition(z), t) - target) ** 2)

    return jnp.mean(jax.vmap(one)(start, pairs.state, pairs.z, times))


@dataclass(frozen=True)
class MatchingSettings(Family):
    """How the matched flow is built and trained; sizes are derived from the dimension where left out."""

    kind: ClassVar[str] = "matching"
    width: int | None = None
    depth: int = 2
    training_steps: int | None = None
    batch_size: int = 512
    learning_rate: float = 3e-3
    sampler_steps: int = 12

    @property
    def has_density(self) -> bool:
        """It has: that of the discrete sampler."""
        return True

    def build(self, layout: Layout, condition: Condition, key: Key[Array, ""]) -> MatchingModel:
        """An untrained field, close to that of normal data."""
        width = self.width_for(layout.dimension)
        network = Network(state_feature_count(layout), layout.dimension, condition.size, width, self.depth, key)
        return MatchingModel(Velocity(condition, network, layout), self.sampler_steps)

    def learn(self, model: Any, data, weight, keys, steps: int, on_chunk: Callable[[int], None]) -> Any:
        """Regression on the velocities of paths between pairs."""
        training = TrainingSettings(steps, self.batch_size, self.learning_rate)
        return train(Descent(matching_loss), model, data, weight, training, keys, on_chunk).model

    def all_steps(self, dimension: int) -> int:
        """4000 up to three dimensions and 6000 beyond, unless given."""
        return self.training_steps or (4000 if dimension <= 3 else 6000)

    @property
    def parts(self) -> int:
        """One."""
        return 1

    def for_moves(self, state: Space) -> "MatchingSettings":
        """A third of the training."""
        return replace(self, training_steps=self.training_steps or a_third(self.all_steps(state.dimension)))

    def width_for(self, dimension: int) -> int:
        """The width of the network, by the dimension unless given."""
        return self.width or width_by_dimension(dimension)
