"""The conditional Wasserstein generative adversarial network: one pass makes a draw; no density of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from micromacro.generators.adversarial import Adversarial
from micromacro.generators.condition import Condition
from micromacro.generators.critic import Critic
from micromacro.generators.family import Family, minimise
from micromacro.generators.perceptron import Perceptron
from micromacro.generators.representation import Layout
from micromacro.generators.training import TrainingSettings


class Transport(eqx.Module):
    """A map from normal latents to represented states given z; an angle is that of a point in the plane."""

    condition: Condition
    network: Perceptron
    layout: Layout = eqx.field(static=True)
    latent: int = eqx.field(static=True)

    @classmethod
    def new(
        cls, layout: Layout, condition: Condition, latent: int, width: int, depth: int, key: Key[Array, ""]
    ) -> "Transport":
        """An untrained one."""
        outputs = layout.reals + 2 * layout.circles
        return cls(condition, Perceptron(latent + condition.size, outputs, width, depth, key), layout, latent)

    def __call__(self, latent: Float[Array, "L"], z: Float[Array, "d"]) -> Float[Array, "Y"]:
        """The represented state of one latent."""
        output = self.network(jnp.concatenate([latent, self.condition(z)]))
        reals, across, up = jnp.split(output, [self.layout.reals, self.layout.reals + self.layout.circles])
        return jnp.concatenate([reals, jnp.arctan2(up, across)])


class GanModel(eqx.Module):
    """A generator and the critic it learnt from, which is kept to go on from."""

    generator: Transport
    critic: Critic

    def draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One represented state given z."""
        return self.generator(jax.random.normal(key, (self.generator.latent,), jnp.float32), z)


@dataclass(frozen=True)
class GanSettings(Family):
    """How the adversarial generator is built and trained; sizes are derived from the dimension where left out.

    **Arguments:**

    - `latent`: normal numbers that a draw is made of.
    - `critic_steps`: for each step of the generator; `training_steps` counts those of the generator.
    - `penalty`: weight of the gradient penalty.
    """

    kind: ClassVar[str] = "gan"
    width: int | None = None
    depth: int = 3
    latent: int | None = None
    critic_steps: int = 5
    penalty: float = 0.1
    training_steps: int | None = None
    batch_size: int = 256
    learning_rate: float = 1e-3

    @property
    def has_density(self) -> bool:
        """It has none: draws come without one."""
        return False

    def build(self, layout: Layout, condition: Condition, key: Key[Array, ""]) -> GanModel:
        """Untrained players."""
        width, latent = self.width_for(layout.dimension), self.latent_for(layout.dimension)
        generator_key, critic_key = jax.random.split(key)
        generator = Transport.new(layout, condition, latent, width, self.depth, generator_key)
        return GanModel(generator, Critic.new(layout, condition, width, self.depth, critic_key))

    def learn(self, model: Any, data, weight, keys, steps: int, on_chunk: Callable[[int], None]) -> Any:
        """Critic and generator in turns."""
        training = TrainingSettings(steps, self.batch_size, self.learning_rate)
        objective = Adversarial(self.critic_steps, self.penalty)
        return minimise(objective, model, data, weight, training, keys, on_chunk)

    def steps_for(self, dimension: int, *, warm: bool) -> int:
        """6000 of the generator unless given; a third of them to go on from a previous one."""
        steps = self.training_steps or 6000
        return max(250, steps // 3) if warm else steps

    def width_for(self, dimension: int) -> int:
        """The width of both networks."""
        return self.width or 128

    def latent_for(self, dimension: int) -> int:
        """The number of latents: more than the state has dimensions, so that wells need not be torn apart."""
        return self.latent or dimension + 2
