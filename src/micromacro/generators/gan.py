"""The conditional Wasserstein generative adversarial network: one pass makes a draw; no density of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from micromacro.errors import InputError
from micromacro.generators.adversarial import Adversarial
from micromacro.generators.condition import Condition
from micromacro.generators.critic import Critic
from micromacro.generators.distilled import Distilled, distil
from micromacro.generators.family import Family
from micromacro.generators.flow import FlowSettings
from micromacro.generators.perceptron import Perceptron
from micromacro.generators.representation import Layout
from micromacro.generators.training import TrainingSettings, train

DENSITIES = "none", "flow"
STEPS, FLOW_STEPS = 6000, 3000


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
    - `density`: "flow" trains a flow on draws and lets it stand for the generator, with its exact density: for
      Metropolis moves and weights, which draws without a density cannot have.

    **Raises:** `InputError` for another `density`.
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
    density: str = "none"

    def __post_init__(self):
        if self.density not in DENSITIES:
            raise InputError("generator.density", f"be one of {', '.join(DENSITIES)}", repr(self.density))

    @property
    def has_density(self) -> bool:
        """Whether a flow stands for the adversarial generator."""
        return self.density == "flow"

    def build(self, layout: Layout, condition: Condition, key: Key[Array, ""]) -> GanModel | Distilled:
        """Untrained players, with an untrained flow where there is to be a density."""
        if not self.has_density:
            return self._players(layout, condition, key)
        players, flow = jax.random.split(key)
        return Distilled(self._players(layout, condition, players), FlowSettings().build(layout, condition, flow))

    def _players(self, layout: Layout, condition: Condition, key: Key[Array, ""]) -> GanModel:
        width, latent = self.width_for(layout.dimension), self.latent_for(layout.dimension)
        generator_key, critic_key = jax.random.split(key)
        generator = Transport.new(layout, condition, latent, width, self.depth, generator_key)
        return GanModel(generator, Critic.new(layout, condition, width, self.depth, critic_key))

    def learn(self, model: Any, data, weight, keys, steps: int, on_chunk: Callable[[int], None]) -> Any:
        """Critic and generator in turns; then, where there is to be a density, the flow from draws."""
        if not self.has_density:
            return self._play(model, data, weight, keys, steps, on_chunk)
        play_keys, flow_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        # the flow takes fewer steps than the players, in proportion
        flow_steps = max(250, steps * FLOW_STEPS // STEPS)
        model = Distilled(self._play(model.teacher, data, weight, play_keys, steps, on_chunk), model.flow)
        return Distilled(model.teacher, distil(model, FlowSettings(), data[1], weight, flow_keys, flow_steps, on_chunk))

    def _play(self, model: Any, data, weight, keys, steps: int, on_chunk: Callable[[int], None]) -> Any:
        training = TrainingSettings(steps, self.batch_size, self.learning_rate)
        return train(Adversarial(self.critic_steps, self.penalty), model, data, weight, training, keys, on_chunk).model

    def all_steps(self, dimension: int) -> int:  # noqa: ARG002
        """Of the generator, 6000 unless given."""
        return self.training_steps or STEPS

    def width_for(self, dimension: int) -> int:
        """The width of both networks: 64 up to three dimensions, 128 beyond."""
        return self.width or (64 if dimension <= 3 else 128)

    def latent_for(self, dimension: int) -> int:
        """The number of latents: more than the state has dimensions, so that wells need not be torn apart."""
        return self.latent or dimension + 2
