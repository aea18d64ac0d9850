"""The conditional normalising flow: autoregressive splines, exact density in one pass."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from micromacro.coordinates.space import Space
from micromacro.estimates.correlation import kish_sample_size
from micromacro.generators.autoregressive import Autoregressive, over_batch
from micromacro.generators.base import Base
from micromacro.generators.condition import Condition
from micromacro.generators.descent import Descent
from micromacro.generators.family import Family, a_third
from micromacro.generators.members import stack
from micromacro.generators.representation import Layout
from micromacro.generators.training import Pairs, TrainingSettings, train
from micromacro.sampling.proposal import Draw

# up to so many dimensions a problem is small, and from the next one on large
SMALL, LARGE = 3, 32


class FlowModel(eqx.Module):
    """Layers that lead from represented states to a base.

    **Arguments:**

    - `layers`: stacked; the first is nearest to the state, and every other one takes the coordinates backwards.
    """

    condition: Condition
    layers: Autoregressive
    layout: Layout = eqx.field(static=True)

    @property
    def base(self) -> Base:
        """The law that the layers lead to: standard normal numbers and uniform angles."""
        return Base(self.layout, 1.0)

    def draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One represented state given z."""
        features = self.condition(z)

        def back(u: Array, one: tuple):
            layer, backwards = one
            return layer.inverse(u, features, backwards), None

        return jax.lax.scan(back, self.base.draw(key), (self.layers, self._backwards()), reverse=True)[0]

    def log_prob(self, x: Float[Array, "Y"], z: Float[Array, "d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """The log-density of a state; it is known of every state whose density single precision can hold."""
        value = self.log_density(x, self.condition(z))
        known = jnp.isfinite(value)
        return jnp.where(known, value, -jnp.inf), known

    def log_density(
        self, x: Float[Array, "Y *batch"], features: Float[Array, "features *batch"]
    ) -> Float[Array, "*batch"]:
        r"""$\log p(x) = \log p_0(u) + \sum_i \log \partial u_i / \partial x_i$, with u at the end of all layers."""

        def forward(carry: tuple, one: tuple):
            (x, total), (layer, backwards) = carry, one
            u, log_slope = layer.forward(x, features, backwards)
            return (u, total + jnp.sum(log_slope, axis=0)), None

        start = x, jnp.zeros(x.shape[1:], jnp.float32)
        (u, total), _ = jax.lax.scan(forward, start, (self.layers, self._backwards()))
        return total + over_batch(self.base.log_prob, u)

    def draw_with_density(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw, and its density as a function of the state alone, so that Metropolis moves are exact."""
        x = self.draw(z, key)
        return Draw(x, *self.log_prob(x, z))

    def weighted_draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """The same: the way back is no dearer than the way here."""
        return self.draw_with_density(z, key)

    def dependence(self) -> Float[Array, ""]:
        """How much coordinates see of one another, over all layers."""
        return jnp.sum(jax.vmap(lambda layer, backwards: layer.dependence(backwards))(self.layers, self._backwards()))

    def _backwards(self) -> Bool[Array, "layers"]:
        return jnp.arange(len(self.layers.conditioner.leave)) % 2 == 1


@dataclass(frozen=True)
class PenalisedLikelihood:
    """What a flow minimises: the mean over pairs of minus the log-likelihood, in nats, and a price on dependence.

    Without the price each of many coordinates would learn a little of the noise of all others, and that adds up. The
    least likelihood loss is the entropy of the states given z. Source: Yuan & Lin, J. Roy. Stat. Soc. B 68, 49 (2006),
    for the penalty: it is on the size of all weights that lead from one coordinate to the network of another.

    **Arguments:**

    - `price`: nats for each unit of such a size.
    """

    price: float

    def __call__(self, model: FlowModel, pairs: Pairs, key: Key[Array, ""]) -> Float[Array, ""]:  # noqa: ARG002
        """The loss of pairs `(n, ...)`."""
        fit = -jnp.mean(model.log_density(pairs.state.T, over_batch(model.condition, pairs.z.T)))
        return fit + self.price * model.dependence()


@dataclass(frozen=True)
class FlowSettings(Family):
    """How the flow is built and trained; sizes are derived from the dimension where left out.

    **Arguments:**

    - `width`, `depth`: of the network that each coordinate has in each layer.
    - `layers`: one may be enough, as it can hold any law; more of them, in turn up and down the coordinates, learn one
      of several separate modes faster.
    - `knots`: bins of each spline.
    - `sparsity`: price of dependence, in nats over the effective number of pairs: see `PenalisedLikelihood`.
    - `apart`: coordinates that see z alone, beside correlations that are linear, and that no other sees.
    """

    kind: ClassVar[str] = "flow"
    width: int | None = None
    depth: int = 2
    layers: int | None = None
    knots: int | None = None
    sparsity: float = 30.0
    training_steps: int | None = None
    batch_size: int | None = None
    learning_rate: float = 6e-3
    apart: tuple[int, ...] = ()  # type: ignore[misc]

    @property
    def has_density(self) -> bool:
        """It has."""
        return True

    def build(self, layout: Layout, condition: Condition, key: Key[Array, ""]) -> FlowModel:
        """The identity, from represented states to the base."""
        sizes = self.width_for(layout.dimension), self.depth, self.knots_for(layout.dimension)
        keys = jax.random.split(key, self.layers_for(layout.dimension))
        layers = [
            Autoregressive.new(layout, condition.size, sizes, number % 2 == 1, key) for number, key in enumerate(keys)
        ]
        return FlowModel(condition, stack(layers), layout)

    def learn(self, model: Any, data, weight, keys, steps: int, on_chunk: Callable[[int], None]) -> Any:
        """Maximum likelihood, at a price on dependence."""
        training = TrainingSettings(steps, self.batch_for(data.state.shape[1]), self.learning_rate)
        objective = Descent(PenalisedLikelihood(self.price_for(weight)), judged_by=PenalisedLikelihood(0.0))
        return train(objective, model, data, weight, training, keys, on_chunk).model

    def all_steps(self, dimension: int) -> int:
        """12,000 up to three dimensions and 6000 beyond, unless given."""
        return self.training_steps or (12_000 if dimension <= SMALL else 6000)

    @property
    def parts(self) -> int:
        """One."""
        return 1

    def for_moves(self, state: Space) -> "FlowSettings":
        """A third of the training."""
        return replace(self, training_steps=self.training_steps or a_third(self.all_steps(state.dimension)))

    def layers_for(self, dimension: int) -> int:
        """How many layers: three up to three dimensions, two beyond."""
        return self.layers or (3 if dimension <= SMALL else 2)

    def width_for(self, dimension: int) -> int:
        """The width of each network: 32 up to three dimensions, 16 beyond, where there are more of them."""
        return self.width or (32 if dimension <= SMALL else 16)

    def knots_for(self, dimension: int) -> int:
        """Bins of each spline: 8, and 4 beyond 32 dimensions."""
        return self.knots or (8 if dimension <= LARGE else 4)

    def price_for(self, weight: Float[np.ndarray, "n"]) -> float:
        """The price for so many effective pairs, rounded to a power of two: most rounds then share what is compiled."""
        return self.sparsity / 2 ** round(math.log2(kish_sample_size(weight)))

    def batch_for(self, dimension: int) -> int:
        """Pairs in a batch: 512 up to three dimensions, 256 beyond."""
        return self.batch_size or (512 if dimension <= SMALL else 256)
