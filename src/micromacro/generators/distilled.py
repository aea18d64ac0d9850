"""A density for an adversarial generator: a normalising flow that learns from its draws, and takes its place.

What the flow misses of the adversarial draws changes a proposal, never what Metropolis moves or weights sample: their
density is that of the flow, which makes the draws as well.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from micromacro.generators.family import VALIDATION_SHARE, Family
from micromacro.generators.flow import FlowModel
from micromacro.generators.members import member, stack
from micromacro.generators.training import Data, numpy_rng, validation_rows
from micromacro.sampling.proposal import Draw

FEWEST_DRAWS = 50_000
AT_ONCE = 10_000


class Distilled(eqx.Module):
    """A flow that stands for another model; this is kept to go on from."""

    teacher: Any
    flow: FlowModel

    def draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One represented state given z, by the flow."""
        return self.flow.draw(z, key)

    def log_prob(self, x: Float[Array, "Y"], z: Float[Array, "d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """The log-density of the flow."""
        return self.flow.log_prob(x, z)

    def draw_with_density(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw by the flow, with its density."""
        return self.flow.draw_with_density(z, key)

    def weighted_draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """The same, for importance weights."""
        return self.flow.weighted_draw(z, key)


def distil(
    models: Any,
    family: Family,
    z: Float[np.ndarray, "n d"],
    weight: Float[np.ndarray, "n"],
    keys: Key[Array, "models"],
    steps: int,
    on_chunk: Callable[[int], None],
) -> Any:
    """The flows of `Distilled` models, with a leading axis, after learning from draws of their teachers.

    **Arguments:**

    - `family`: of the flow; `z`, `weight`: the conditions of the training data, at which the teachers draw.
    """
    count = max(FEWEST_DRAWS, len(z))
    flows = []
    for number, key in enumerate(keys):
        # each has a teacher, so data, of its own
        model = member(models, number)
        row_key, draw_key, train_key = jax.random.split(key, 3)
        rng = numpy_rng(row_key)
        conditions = z[rng.choice(len(z), count, p=weight / weight.sum())]
        states = _draws(model.teacher, conditions, draw_key)
        data = Data(states, conditions, validation_rows(states, VALIDATION_SHARE))
        learned = family.learn(stack([model.flow]), data, np.ones(count), train_key[None], steps, on_chunk)
        flows.append(member(learned, 0))
    return stack(flows)


def _draws(teacher: Any, z: Float[np.ndarray, "n d"], key: Key[Array, ""]) -> Float[np.ndarray, "n Y"]:
    made = eqx.filter_jit(lambda teacher, z, keys: jax.vmap(teacher.draw)(z, keys))
    parts = []
    for number, start in enumerate(range(0, len(z), AT_ONCE)):
        some = jnp.asarray(z[start : start + AT_ONCE], jnp.float32)
        parts.append(np.asarray(made(teacher, some, jax.random.split(jax.random.fold_in(key, number), len(some)))))
    return np.concatenate(parts)
