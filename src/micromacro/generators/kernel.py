r"""The training-free kernel score: a mixture of noisy copies of the data, weighted by how close their conditions are.

$p(x | z) = \sum_i a_i(z)\, N(x; x_i, h^2)$, wrapped on circles, with $a_i(z) \propto w_i\, N(z; z_i, b^2)$. Diffused to
noise σ, it is the same mixture at the bandwidth $\sqrt{h^2 + \sigma^2}$, so its score is known in closed form, and the
probability flow of that score, stopped at σ = h, draws exactly from this mixture: nothing need be integrated for draws
or densities. What a network adds is all that it does better than this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from micromacro.coordinates.space import Space
from micromacro.generators.bandwidth import rules_of_thumb
from micromacro.generators.base import wrap_angles
from micromacro.generators.circle import wrapped_log_density
from micromacro.generators.condition import Condition
from micromacro.generators.family import Family
from micromacro.generators.members import stack
from micromacro.generators.representation import Layout
from micromacro.generators.training import numpy_rng
from micromacro.sampling.proposal import Draw

MOST_JUDGES = 1024
# times the rules of thumb, which hold for a single normal law
STATE_FACTORS = (0.2, 0.35, 0.5, 0.7, 1.0, 1.4)
CONDITION_FACTORS = (0.15, 0.3, 0.6, 1.0)


class KernelModel(eqx.Module):
    """A mixture of noisy copies of represented states, all in single precision.

    **Arguments:**

    - `state`, `z`: of each centre, `(centres, Y)` and `(centres, d)`; `log_weight`: `(centres,)`.
    - `bandwidth`: h, of all coordinates; `condition_bandwidth`: b, `(d,)`.
    - `space`: where z lives.
    """

    state: Float[Array, "centres Y"]
    z: Float[Array, "centres d"]
    log_weight: Float[Array, "centres"]
    bandwidth: Float[Array, ""]
    condition_bandwidth: Float[Array, "d"]
    layout: Layout = eqx.field(static=True)
    space: Space = eqx.field(static=True)

    def draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """A noisy copy of one centre."""
        choice_key, noise_key = jax.random.split(key)
        centre = self.state[jax.random.categorical(choice_key, self.log_shares(z))]
        noisy = centre + self.bandwidth * jax.random.normal(noise_key, centre.shape, centre.dtype)
        return wrap_angles(noisy, self.layout)

    def log_prob(self, x: Float[Array, "Y"], z: Float[Array, "d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """The log-density of the mixture: known everywhere."""
        return self._log_density(x, z, self.bandwidth), jnp.asarray(True)

    def draw_with_density(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """A draw with its density, which needs no way back."""
        state = self.draw(z, key)
        return Draw(state, *self.log_prob(state, z))

    def weighted_draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """The same as `draw_with_density`."""
        return self.draw_with_density(z, key)

    def score(self, x: Float[Array, "Y"], z: Float[Array, "d"], noise: Float[Array, ""]) -> Float[Array, "Y"]:
        """The score of the data, smoothed by the kernel, at noise σ."""
        return jax.grad(self._log_density)(x, z, jnp.hypot(self.bandwidth, noise))

    def log_shares(self, z: Float[Array, "d"]) -> Float[Array, "centres"]:
        """Ln a(z), normalised."""
        offset = self.space.difference(z, self.z).astype(self.z.dtype) / self.condition_bandwidth
        return jax.nn.log_softmax(self.log_weight - 0.5 * jnp.sum(offset**2, axis=1))

    def _log_density(self, x: Array, z: Array, width: Array) -> Array:
        return jax.scipy.special.logsumexp(self.log_shares(z) + log_kernel(x - self.state, width, self.layout))


def log_kernel(delta: Float[Array, "*n Y"], width: Float[Array, ""], layout: Layout) -> Float[Array, "*n"]:
    """The log-density of normal noise of one width in every coordinate, wrapped where that is an angle."""
    reals = delta[..., : layout.reals]
    normal = -0.5 * jnp.sum((reals / width) ** 2, axis=-1) - layout.reals * jnp.log(width)
    normal = normal - np.asarray(0.5 * layout.reals * np.log(2 * np.pi), delta.dtype)
    return normal + jnp.sum(wrapped_log_density(delta[..., layout.reals :], width), axis=-1)


@dataclass(frozen=True)
class KernelSettings(Family):
    """The training-free kernel score: a baseline that costs nothing to fit.

    **Arguments:**

    - `centres`: copies of the data that it keeps, chosen by weight; a density costs as many kernels.
    - `bandwidth`, `condition_bandwidth`: times the rules of thumb of Scott and Silverman, of states and of conditions;
      those of the best likelihood of held-out pairs where left out.
    """

    kind: ClassVar[str] = "kernel"
    centres: int = 2048
    bandwidth: float | None = None
    condition_bandwidth: float | None = None

    @property
    def has_density(self) -> bool:
        """It has, in closed form."""
        return True

    def all_steps(self, dimension: int) -> int:  # noqa: ARG002
        """None."""
        return 0

    @property
    def parts(self) -> int:
        """One."""
        return 1

    def for_moves(self, state: Space) -> "KernelSettings":  # noqa: ARG002
        """The same."""
        return self

    def build(self, layout: Layout, condition: Condition, key: Key[Array, ""]) -> KernelModel:  # noqa: ARG002
        """A mixture whose centres are not chosen yet."""
        d, zeros = condition.space.dimension, jnp.zeros
        shapes = (self.centres, layout.dimension), (self.centres, d), (self.centres,), (), (d,)
        x, z, log_weight, width, z_width = (zeros(shape, jnp.float32) for shape in shapes)
        return KernelModel(x, z, log_weight, width, z_width, layout, condition.space)

    def learn(self, model: Any, data, weight, keys, steps: int, on_chunk: Callable[[int], None]) -> Any:  # noqa: ARG002
        """Centres by weight, bandwidths by the likelihood of pairs that are no centres."""
        state, z = (np.asarray(part, np.float32) for part in (data.state, data.z))
        fitted = [self._fit(model, state, z, np.asarray(weight, float), data.held_out, key) for key in keys]
        return stack(fitted)

    def _fit(self, model: KernelModel, state, z, weight, held_out, key) -> KernelModel:
        rng = numpy_rng(key)
        rows = _chosen(np.where(held_out, 0.0, weight), self.centres, rng)
        x, own_z, log_weight = (jnp.asarray(part, jnp.float32) for part in (state[rows], z[rows], np.zeros(len(rows))))
        widths = rules_of_thumb(state[rows], z[rows], model.layout, model.space)
        fitted = KernelModel(x, own_z, log_weight, widths[0], widths[1], model.layout, model.space)
        judges = np.where(held_out, weight, 0.0)
        judges = _chosen(judges if judges.sum() > 0 else weight, MOST_JUDGES, rng)
        return self._scaled(fitted, jnp.asarray(state[judges]), jnp.asarray(z[judges]))

    def _scaled(self, model: KernelModel, state: Float[Array, "m Y"], z: Float[Array, "m d"]) -> KernelModel:
        narrower = STATE_FACTORS if self.bandwidth is None else (self.bandwidth,)
        nearer = CONDITION_FACTORS if self.condition_bandwidth is None else (self.condition_bandwidth,)
        candidates = [scaled(model, one, other) for one in narrower for other in nearer]
        if len(candidates) == 1:
            return candidates[0]
        likelihood = [float(mean_log_prob(candidate, state, z)) for candidate in candidates]
        return candidates[int(np.argmax(likelihood))]


def scaled(model: KernelModel, factor: float, condition_factor: float) -> KernelModel:
    """The same centres with bandwidths so many times as large."""
    widths = factor * model.bandwidth, condition_factor * model.condition_bandwidth
    return eqx.tree_at(lambda one: (one.bandwidth, one.condition_bandwidth), model, widths)


@eqx.filter_jit
def mean_log_prob(model: KernelModel, state: Float[Array, "m Y"], z: Float[Array, "m d"]) -> Float[Array, ""]:
    """The mean log-density of pairs, one by one, so that no table of all pairs and centres is kept."""
    return jnp.mean(jax.lax.map(lambda pair: model.log_prob(*pair)[0], (state, z), batch_size=64))


def _chosen(weight: Float[np.ndarray, "n"], count: int, rng: np.random.Generator) -> np.ndarray:
    """So many rows by weight, stratified, so that few are chosen twice."""
    cumulative = np.cumsum(weight) / np.sum(weight)
    rows = np.searchsorted(cumulative, (np.arange(count) + rng.random(count)) / count, "right")
    return np.minimum(rows, np.flatnonzero(weight)[-1])
