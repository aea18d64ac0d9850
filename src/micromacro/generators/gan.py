"""The conditional Wasserstein generative adversarial network: no density of its own."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.coordinates.space import Space
from micromacro.errors import InputError
from micromacro.generators.adversarial import Adversarial
from micromacro.generators.base import wrap_angles
from micromacro.generators.condition import Condition
from micromacro.generators.critic import Critic
from micromacro.generators.descent import Descent
from micromacro.generators.distilled import Distilled, distil
from micromacro.generators.family import Family, a_third
from micromacro.generators.flow import FlowSettings
from micromacro.generators.perceptron import Perceptron
from micromacro.generators.representation import Layout
from micromacro.generators.resampling import choose, ratio_loss
from micromacro.generators.training import TrainingSettings, train

DENSITIES = "none", "flow"
STEPS = 6000
SPARE = 4  # latents beyond those that a state is made of, to tear wells apart with
BLUR = np.array([0.003, 0.3], np.float32)  # of candidates, in units of the represented state; log-uniform
CLASSIFIER_WIDTH, CLASSIFIER_BATCH, CLASSIFIER_RATE = 128, 512, 3e-3


class Transport(eqx.Module):
    """A map from normal latents to represented states given z; an angle is that of a point in the plane.

    The network says what is added to the first latents: of normal data, that is nothing.
    """

    condition: Condition
    network: Perceptron
    layout: Layout = eqx.field(static=True)
    latent: int = eqx.field(static=True)

    @classmethod
    def new(
        cls, layout: Layout, condition: Condition, latent: int, width: int, depth: int, key: Key[Array, ""]
    ) -> "Transport":
        """An untrained one."""
        network = Perceptron(latent + condition.size, plane_size(layout), width, depth, key)
        return cls(condition, network, layout, latent)

    def __call__(self, latent: Float[Array, "L"], z: Float[Array, "d"]) -> Float[Array, "Y"]:
        """The represented state of one latent."""
        change = self.network(jnp.concatenate([latent, self.condition(z)]))
        output = jnp.pad(latent, (0, max(0, change.size - latent.size)))[: change.size] + change
        reals, across, up = jnp.split(output, [self.layout.reals, self.layout.reals + self.layout.circles])
        return jnp.concatenate([reals, jnp.arctan2(up, across)])


class GanModel(eqx.Module):
    """A generator, the critic it learnt from, which is kept to go on from, and what its draws are chosen by.

    **Arguments:**

    - `log_ratio`: the logarithm of the data's density over that of blurred candidates.
    - `candidates`: how many the generator makes for each draw.
    """

    generator: Transport
    critic: Critic
    log_ratio: Critic
    candidates: int = eqx.field(static=True)

    def make(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One represented state as the generator makes it."""
        return self.generator(jax.random.normal(key, (self.generator.latent,), jnp.float32), z)

    def propose(self, z: Float[Array, "d"], key: Key[Array, ""], count: int) -> Float[Array, "count Y"]:
        """So many of them, blurred: a state that the generator alone would never make can then be chosen too."""
        latent, layout = self.generator.latent, self.generator.layout
        normal_key, size_key = jax.random.split(key)
        # few calls for random numbers: each takes half a second to compile
        normal = jax.random.normal(normal_key, (count, latent + layout.dimension), jnp.float32)
        size = jnp.exp(jax.random.uniform(size_key, (count, 1), jnp.float32, *np.log(BLUR)))
        made = jax.vmap(lambda latent: self.generator(latent, z))(normal[:, :latent])
        return jax.vmap(lambda state: wrap_angles(state, layout))(made + size * normal[:, latent:])

    def draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One represented state given z, chosen where there is a choice."""
        return self.make(z, key) if self.candidates == 1 else choose(self, self.candidates, z, key)


@dataclass(frozen=True)
class GanSettings(Family):
    """How the adversarial generator is built and trained; sizes are derived from the dimension where left out.

    **Arguments:**

    - `latent`: normal numbers that a draw is made of.
    - `critic_steps`: for each step of the generator.
    - `width`, `depth`, `batch_size`, `learning_rate`: of generator and critic; the classifier is at least 128 wide.
    - `candidates`: of which each draw is chosen, by a classifier that has learnt to tell them from data; 1: no choice.
    - `training_steps`: shared equally by the generator, the classifier and, with a density, the flow.
    - `penalty`: weight of the gradient penalty.
    - `density`: "flow" trains a flow on draws and lets it stand for the generator, with its exact density: for
      Metropolis moves and weights, which draws without a density cannot have.

    **Raises:** `InputError` for another `density`, and for less than one candidate.
    """

    kind: ClassVar[str] = "gan"
    width: int | None = None
    depth: int = 3
    latent: int | None = None
    critic_steps: int = 5
    penalty: float = 0.1
    candidates: int = 16
    training_steps: int | None = None
    batch_size: int = 256
    learning_rate: float = 1e-3
    density: str = "none"

    def __post_init__(self):
        if self.density not in DENSITIES:
            raise InputError("generator.density", f"be one of {', '.join(DENSITIES)}", repr(self.density))
        if self.candidates < 1:
            raise InputError("generator.candidates", "be at least 1", self.candidates)

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
        width, latent = self.width_for(layout.dimension), self.latent or plane_size(layout) + SPARE
        keys = jax.random.split(key, 3)
        generator = Transport.new(layout, condition, latent, width, self.depth, keys[0])
        critic = Critic.new(layout, condition, width, self.depth, keys[1])
        classifier_width = max(width, CLASSIFIER_WIDTH)
        log_ratio = Critic.new(layout, condition, classifier_width, self.depth, keys[2], jax.nn.silu)
        return GanModel(generator, critic, log_ratio, self.candidates)

    def learn(self, model: Any, data, weight, keys, steps: int, on_chunk: Callable[[int], None]) -> Any:
        """Critic and generator in turns, then the classifier; then, where there is to be a density, the flow."""
        play_keys, ratio_keys, flow_keys = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(keys)
        share = steps // self.parts
        players = model.teacher if self.has_density else model
        play = TrainingSettings(share, self.batch_size, self.learning_rate)
        contest = Adversarial(self.critic_steps, self.penalty)
        players = train(contest, players, data, weight, play, play_keys, on_chunk).model
        if self.candidates > 1:
            classify = TrainingSettings(share, CLASSIFIER_BATCH, CLASSIFIER_RATE)
            players = train(Descent(ratio_loss), players, data, weight, classify, ratio_keys, on_chunk).model
        if not self.has_density:
            return players
        model = Distilled(players, model.flow)
        return Distilled(players, distil(model, FlowSettings(), data[1], weight, flow_keys, share, on_chunk))

    def all_steps(self, dimension: int) -> int:  # noqa: ARG002
        """6000 for each part unless given."""
        return self.training_steps or self.parts * STEPS

    @property
    def parts(self) -> int:
        """The generator, the classifier where there is a choice, the flow where there is to be a density."""
        return 1 + (self.candidates > 1) + self.has_density

    def for_moves(self, state: Space) -> "GanSettings":
        """A third of the training, where there is a density; nothing corrects what has none."""
        if not self.has_density:
            return self
        return replace(self, training_steps=self.training_steps or a_third(self.all_steps(state.dimension)))

    def width_for(self, dimension: int) -> int:
        """The width of generator and critic: 64 up to three dimensions, 128 beyond."""
        return self.width or (64 if dimension <= 3 else 128)


def plane_size(layout: Layout) -> int:
    """Numbers that a state is made of where an angle is a point in the plane."""
    return layout.reals + 2 * layout.circles
