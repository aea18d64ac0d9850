"""Restriction: from an ensemble of micro states to a coarse state, with jackknife replicates."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.systems.model import System


@dataclass(frozen=True, eq=False)
class Restriction:
    """How an ensemble is seen coarsely.

    **Arguments:**

    - `function`: hidden states of the ensemble `(n, D)` to the coarse state `(m,)`, written with `jax.numpy`; it must
      make sense of any number n.
    - `difference`: of two coarse states `(..., m)`, first minus second: by the shortest way round where periodic.
    """

    function: Callable[[Float[Array, "n D"]], Float[Array, "m"]]
    difference: Callable[[np.ndarray, np.ndarray], np.ndarray] = np.subtract


def mean_of(system: System, coarse: CoarseVariable) -> Restriction:
    """The mean of ξ over the ensemble, `(d,)`; about the mean direction where ξ is periodic, and not wrapped."""

    def function(states):
        return _moments(coarse, jax.vmap(lambda state: coarse(system.observe(state)))(states))[0]

    return Restriction(function, lambda first, second: np.asarray(coarse.difference(first, second)))


def moments_of(system: System, coarse: CoarseVariable) -> Restriction:
    """The mean and the variance of each component of ξ over the ensemble, `(2 d,)`."""
    count = coarse.dimension

    def function(states):
        return jnp.concatenate(_moments(coarse, jax.vmap(lambda state: coarse(system.observe(state)))(states)))

    def difference(first, second):
        means = np.asarray(coarse.difference(first[..., :count], second[..., :count]))
        return np.concatenate([means, first[..., count:] - second[..., count:]], axis=-1)

    return Restriction(function, difference)


def _moments(coarse: CoarseVariable, values: Float[Array, "n d"]) -> tuple[Float[Array, "d"], Float[Array, "d"]]:
    angle = (values - coarse.lower) * (2 * jnp.pi / coarse.range)
    direction = jnp.arctan2(jnp.sin(angle).mean(axis=0), jnp.cos(angle).mean(axis=0))
    centre = jnp.where(
        jnp.array(coarse.periodic), coarse.lower + direction * coarse.range / (2 * jnp.pi), values.mean(axis=0)
    )
    offset = coarse.difference(values, centre)
    mean = centre + offset.mean(axis=0)
    return mean, jnp.var(offset, axis=0, ddof=1)


def restrict(
    restriction: Restriction, frames: Float[np.ndarray, "frames n D"], groups: int
) -> tuple[Float[np.ndarray, "frames m"], Float[np.ndarray, "groups frames m"]]:
    """The coarse path of an ensemble, and those of the ensemble without each of its contiguous `groups`.

    The first frame is as the restriction says; each later one continues the one before, the shortest way round.
    """
    count = frames.shape[1]
    kept = np.stack([np.delete(np.arange(count), part) for part in np.arange(count).reshape(groups, -1)])
    path, replicates = (np.asarray(part, float) for part in _restrict(restriction.function, jnp.asarray(frames), kept))
    replicates = np.swapaxes(replicates, 0, 1)
    path = _continued(restriction, path[:1], path)
    # without a group the ensemble is still near the whole one: never a turn away from it
    return path, path + restriction.difference(replicates, path)


def _continued(restriction: Restriction, first: np.ndarray, path: np.ndarray) -> np.ndarray:
    steps = restriction.difference(path[1:], path[:-1])
    return np.concatenate([first, first + np.cumsum(steps, axis=0)])


@partial(jax.jit, static_argnames="function")
def _restrict(function: Callable, frames: Array, kept: Array) -> tuple[Array, Array]:
    def one(states):
        return function(states), jax.vmap(lambda rows: function(states[rows]))(kept)

    return jax.lax.map(one, frames)
