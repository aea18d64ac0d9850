"""Coarse variables: one definition that biases, conditions and histograms share."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.coordinates.space import Space
from micromacro.errors import InputError


@dataclass(frozen=True, eq=False)
class CoarseVariable:
    """A coarse variable z = ξ(q) with its range.

    **Arguments:**

    - `function`: observed state `(Y,)` to coarse value `(d,)`, written with `jax.numpy`, twice differentiable.
    - `lower`, `upper`: the range of interest, `(d,)`; for a periodic component their difference is the period.
    - `periodic`: `(d,)` booleans.
    - `components`: of a molecule, what each component is as a function of positions, one of
      `micromacro.coordinates.geometry`; empty elsewhere.
    """

    function: Callable[[Float[Array, "Y"]], Float[Array, "d"]]
    lower: Float[np.ndarray, "d"]
    upper: Float[np.ndarray, "d"]
    periodic: tuple[bool, ...]
    components: tuple[Callable, ...] = ()

    def __post_init__(self):
        lower = np.atleast_1d(np.asarray(self.lower, float))
        upper = np.atleast_1d(np.asarray(self.upper, float))
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)
        object.__setattr__(self, "periodic", tuple(bool(flag) for flag in np.atleast_1d(self.periodic)))

    @property
    def dimension(self) -> int:
        """The number of coarse variables, `d`."""
        return len(self.lower)

    @property
    def range(self) -> Float[np.ndarray, "d"]:
        """Upper minus lower end; the period of a periodic component."""
        return self.upper - self.lower

    @property
    def space(self) -> Space:
        """Where its values live."""
        return Space.of(self.lower, self.upper, self.periodic)

    def __call__(self, observed: Float[Array, "Y"]) -> Float[Array, "d"]:
        """ξ of one observed state, wrapped into the range where periodic."""
        return self.wrap(jnp.reshape(self.function(observed), (self.dimension,)))

    def difference(self, first: Array | np.ndarray, second: Array | np.ndarray) -> Array:
        """`first - second`, `(..., d)`, by the shortest way round where periodic."""
        return self.space.difference(first, second)

    def wrap(self, value: Array | np.ndarray) -> Array:
        """The same coarse value, `(..., d)`, within the range where periodic."""
        return self.space.wrap(value)


def unlearned(dimension: int) -> CoarseVariable:
    """What stands for `dimension` coarse variables until they are learned; to evaluate it is an error."""

    def refuse(_: Array) -> Array:
        remedy = "Run the case, or load its results with Result.load: both learn or read it."
        raise InputError("the coarse variable", "be learned before it is evaluated", "none yet", remedy=remedy)

    return CoarseVariable(refuse, np.zeros(dimension), np.ones(dimension), (False,) * dimension)
