"""Where coordinates live: on the line, between bounds, or on a circle."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.errors import InputError


@dataclass(frozen=True)
class Space:
    """A product of lines, half-lines, intervals and circles; hashable, so that compiled code may depend on it.

    **Arguments:**

    - `lower`, `upper`: ends of each coordinate, infinite where it is unbounded; their difference is the period of a
      periodic one.
    - `periodic`: whether each is a circle.

    **Raises:** `InputError` for lengths that differ, ends in the wrong order, a period that is not finite.

    >>> angle_and_length = Space((-3.14, 0.0), (3.14, float("inf")), (True, False))
    >>> angle_and_length.dimension
    2
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    periodic: tuple[bool, ...]

    def __post_init__(self):
        if not len(self.lower) == len(self.upper) == len(self.periodic):
            lengths = len(self.lower), len(self.upper), len(self.periodic)
            raise InputError("lower, upper and periodic", "have equal lengths", lengths)
        for low, high, periodic in zip(self.lower, self.upper, self.periodic, strict=True):
            if not low < high:
                raise InputError("upper", f"be greater than lower, {low}", high)
            if periodic and not np.isfinite(high - low):
                raise InputError("a period", "be finite", (low, high))

    @classmethod
    def of(cls, lower, upper, periodic) -> "Space":
        """The space of arrays or lists of ends and flags."""
        low, high = (tuple(float(end) for end in np.atleast_1d(values)) for values in (lower, upper))
        return cls(low, high, tuple(bool(flag) for flag in np.atleast_1d(periodic)))

    @classmethod
    def unbounded(cls, dimension: int) -> "Space":
        """The real space of so many dimensions."""
        return cls((-np.inf,) * dimension, (np.inf,) * dimension, (False,) * dimension)

    @classmethod
    def containing(cls, values: Float[np.ndarray, "n d"]) -> "Space":
        """The smallest box, not periodic, that holds the values; of unit width where they are all the same."""
        low, high = values.min(axis=0), values.max(axis=0)
        same = high <= low
        return cls.of(np.where(same, low - 0.5, low), np.where(same, high + 0.5, high), np.zeros(len(low), bool))

    def closed(self, values: Float[np.ndarray, "n d"]) -> "Space":
        """The same with infinite ends put where the values end."""
        box = Space.containing(values)
        lower, upper = (
            np.where(np.isfinite(own), own, other) for own, other in ((self.lower, box.lower), (self.upper, box.upper))
        )
        return Space.of(lower, upper, self.periodic)

    @property
    def dimension(self) -> int:
        """The number of coordinates."""
        return len(self.lower)

    @property
    def range(self) -> Float[np.ndarray, "n"]:
        """Upper minus lower ends; the period of a periodic coordinate."""
        return np.asarray(self.upper) - np.asarray(self.lower)

    @property
    def period(self) -> Float[np.ndarray, "n"]:
        """The periods; infinite where a coordinate is not periodic."""
        return np.where(self.periodic, self.range, np.inf)

    @property
    def circles(self) -> tuple[int, ...]:
        """The indices of the periodic coordinates."""
        return tuple(index for index, periodic in enumerate(self.periodic) if periodic)

    def difference(self, first: Array | np.ndarray, second: Array | np.ndarray) -> Array:
        """`first - second`, `(..., n)`, by the shortest way round where periodic."""
        return wrap(jnp.asarray(first) - jnp.asarray(second), self.period)

    def wrap(self, value: Array | np.ndarray) -> Array:
        """The same point, `(..., n)`, between the ends where periodic."""
        lower, period = np.asarray(self.lower), np.where(self.periodic, self.range, 1.0)
        safe = np.where(self.periodic, lower, 0.0)
        return jnp.where(jnp.asarray(self.periodic), safe + jnp.mod(value - safe, period), value)

    def as_dict(self) -> dict:
        """For JSON; infinite ends become null."""
        ends = {"lower": self.lower, "upper": self.upper}
        finite = {key: [end if np.isfinite(end) else None for end in values] for key, values in ends.items()}
        return finite | {"periodic": list(self.periodic)}

    @classmethod
    def from_dict(cls, record: dict) -> "Space":
        """The space of what `as_dict` gave."""
        lower = [-np.inf if end is None else end for end in record["lower"]]
        upper = [np.inf if end is None else end for end in record["upper"]]
        return cls.of(lower, upper, record["periodic"])


def wrap(delta: Array, period: Array | np.ndarray) -> Array:
    """Differences by the shortest way round where the period is finite."""
    finite = np.isfinite(period) if isinstance(period, np.ndarray) else jnp.isfinite(period)
    safe = jnp.where(finite, period, 1.0).astype(delta.dtype)
    return jnp.where(finite, delta - safe * jnp.round(delta / safe), delta)
