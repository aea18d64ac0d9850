"""Has a generator collapsed? At conditions of the training data, its draws are held against the data themselves.

An adversarial generator may forget a mode, shrink, or ignore its condition, without any loss to show it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from micromacro.errors import InputError, PhysicsError
from micromacro.estimates.correlation import kish_sample_size
from micromacro.generators.generator import DensityGenerator, Generator
from micromacro.generators.health import ConditionHealth, Neighbourhood, examine
from micromacro.generators.representation import inside_bounds
from micromacro.generators.training import numpy_rng

CONDITIONS = 8
NEIGHBOURS = 400
FEWEST = 50
# many draws for each state of the data: that a small mode gets none of them is then no chance
DRAWS_PER_STATE = 4


@dataclass(frozen=True)
class CollapseReport:
    """Figures at every condition that was looked at."""

    conditions: tuple[ConditionHealth, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """What is wrong, in sentences that name the condition, the figure and its bound."""
        return tuple(sentence for one in self.conditions for sentence in one.failures)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures


def require_healthy(report: CollapseReport) -> None:
    """Raise `PhysicsError` where a generator has collapsed."""
    if report.passed:
        return
    found = [one for one in report.conditions if one.failures]
    first, *others = report.failures
    more = f"; {len(others)} more failures" if others else ""
    raise PhysicsError(
        f"the generator does not reproduce its training data: {first.rstrip('.')}{more}",
        where=f"generator, {len(found)} of {len(report.conditions)} conditions",
        remedy="Train it longer or with another seed, or choose a generator with a density, such as kind 'flow'.",
    )


def diagnose(
    generator: Generator | DensityGenerator,
    q: Float[np.ndarray, "n Y"],
    z: Float[np.ndarray, "n d"],
    weight: Float[np.ndarray, "n"],
    key: Key[Array, ""],
    *,
    coarse: Callable | None = None,
    blur: Float[np.ndarray, "d"] | None = None,
    conditions: int = CONDITIONS,
) -> CollapseReport:
    """Compare a generator with weighted pairs near some conditions, chosen where the weight is.

    Draws are made at the very conditions of the data that they are compared with, so that it does not matter how far
    apart these are. Coordinates are the represented ones: of unit scale at every z, angles on their circles.

    **Arguments:**

    - `coarse`: q `(Y,)` to z `(d,)`, where the condition is a function of the state; `blur`: the standard deviation of
      z about it, `(d,)`; that of the data where left out.

    **Raises:** `InputError` where less than 50 different states have a weight.
    """
    draw_key, row_key = jax.random.split(key)
    rng = numpy_rng(row_key)
    rows = _rows(q, weight, rng)
    # equal numbers of rows, so equal weights, lie between the conditions
    ordered = rows[np.argsort(z[rows, 0], kind="stable")]
    chosen = ordered[((np.arange(conditions) + 0.5) / conditions * len(rows)).astype(int)]
    error = None if coarse is None else _label_errors(coarse, generator, blur, q[rows], z[rows])
    found = []
    for row, one in zip(chosen, jax.random.split(draw_key, conditions), strict=True):
        near = rows[_nearest(generator, z[rows], z[row])]
        states = _draws(generator, z[near], one)
        data, drawn = _represented(generator, q[None, near], z[near])[0], _represented(generator, states, z[near])
        labels = None if error is None else (error(q[None, near], z[near])[0], error(states, z[near]))
        layout = generator.representation.layout
        found.append(examine(Neighbourhood(z[row], data, drawn, layout, labels), rng))
    return CollapseReport(tuple(found))


def _rows(q: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> Int[np.ndarray, "rows"]:
    """Different states in proportion to their weights, as many as these are worth."""
    total = np.cumsum(weight) / np.sum(weight)
    count = max(1, round(kish_sample_size(weight)))
    rows = np.unique(np.searchsorted(total, (np.arange(count) + rng.random()) / count * (1 - 1e-12), "right"))
    rows = rows[np.sort(np.unique(q[rows], axis=0, return_index=True)[1])]
    if len(rows) < FEWEST:
        raise InputError("q", f"hold at least {FEWEST} different states of positive weight to compare with", len(rows))
    return rows


def _nearest(
    generator: Generator | DensityGenerator, z: Float[np.ndarray, "rows d"], center: Float[np.ndarray, "d"]
) -> Int[np.ndarray, "near"]:
    # less than a tenth of the data: else one neighbourhood would be all there is
    count = min(NEIGHBOURS, max(FEWEST, len(z) // 10))
    distance = np.asarray(generator.condition.difference(z, center)) / generator.condition.range
    return np.argpartition(np.sum(distance**2, axis=1), count - 1)[:count]


def _draws(
    generator: Generator | DensityGenerator, z: Float[np.ndarray, "n d"], key: Key[Array, ""]
) -> Float[np.ndarray, "k n Y"]:
    return np.asarray(_sampled(generator, jnp.asarray(z), jax.random.split(key, (DRAWS_PER_STATE, len(z)))))


@eqx.filter_jit
def _sampled(generator: Generator | DensityGenerator, z: Array, keys: Array) -> Array:
    return jax.vmap(jax.vmap(generator.sample), (None, 0))(z, keys)


def _represented(
    generator: Generator | DensityGenerator, q: Float[np.ndarray, "k n Y"], z: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "k n Y"]:
    inside = inside_bounds(q.reshape(-1, q.shape[-1]), generator.state).reshape(q.shape)
    return np.asarray(_encoded(generator, jnp.asarray(inside), jnp.asarray(z, jnp.float32)), float)


@eqx.filter_jit
def _encoded(generator: Generator | DensityGenerator, q: Array, z: Array) -> Array:
    one = jax.vmap(lambda state, condition: generator.representation.encode(state, condition).state)
    return jax.vmap(one, (0, None))(q, z)


def _label_errors(
    coarse: Callable,
    generator: Generator | DensityGenerator,
    blur: Float[np.ndarray, "d"] | None,
    q: Float[np.ndarray, "rows Y"],
    z: Float[np.ndarray, "rows d"],
) -> Callable:
    """The function of states `(k, n, Y)` and their conditions to ξ(q) - z in units of the blur, `(k, n, d)`."""
    labels = jax.jit(jax.vmap(jax.vmap(coarse)))

    def difference(q: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.asarray(generator.condition.difference(labels(jnp.asarray(q)), z))

    scale = np.std(difference(q[None], z)[0], axis=0) if blur is None else np.asarray(blur)
    # where states lie exactly at their conditions, the last digits do
    scale = np.maximum(scale, 1e-6 * generator.condition.range)
    return lambda q, z: difference(q, z) / scale
