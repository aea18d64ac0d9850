"""Feature maps: what a learner of coarse variables sees of an observed state, differentiable.

States of particles are `(points * spatial_dimension,)`, point after point. Where a feature has no gradient, at a
distance of zero or a torsion of points on one line, the gradient is zero instead of not a number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.errors import InputError

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class WholeState:
    """The observed state as it is."""

    def __call__(self, observed: Float[Array, "Y"]) -> Float[Array, "F"]:
        """`(Y,)` to `(Y,)`."""
        return observed


@dataclass(frozen=True)
class Distances:
    """Distances between pairs of points.

    **Arguments:**

    - `pairs`: of points, counted from zero; `None` for all.
    - `spatial_dimension`: coordinates of each point.

    **Raises:** `InputError` for no pairs, a point paired with itself, and, when called, for points beyond the state's.
    """

    pairs: Pairs | None = None
    spatial_dimension: int = 3

    def __post_init__(self):
        _check_dimension(self.spatial_dimension)
        if self.pairs is not None:
            object.__setattr__(self, "pairs", _groups("pairs", self.pairs, 2))

    def __call__(self, observed: Float[Array, "Y"]) -> Float[Array, "F"]:
        """One distance for each pair, in the units of the state."""
        return _root(_squared_lengths(observed, self.pairs, self.spatial_dimension))


@dataclass(frozen=True)
class RationalSwitch:
    r"""A rational switch, $s(r) = 1 / (1 + (r / r_0)^n)$.

    It is one for points that touch, a half at `radius` and nothing for points far apart.

    **Raises:** `InputError` for a radius that is not positive, or a power below two, whose gradient jumps at zero.

    Source: Iannuzzi, Laio & Parrinello, Phys. Rev. Lett. 90, 238302 (2003), with m = 2n.
    """

    radius: float
    power: int = 6

    def __post_init__(self):
        _check_positive("radius", self.radius)
        if self.power < 2:
            raise InputError("power", "be 2 or more", self.power)

    def __call__(self, squared: Float[Array, "n"]) -> Float[Array, "n"]:
        """The contact of points at squared distances."""
        ratio = squared / self.radius**2
        if self.power % 2 == 0:
            return 1 / (1 + ratio ** (self.power // 2))
        return 1 / (1 + _root(ratio) ** self.power)


@dataclass(frozen=True)
class FermiSwitch:
    r"""The Fermi function, $s(r) = 1 / (1 + e^{\beta (r - r_0)})$, of `steepness` β per length.

    **Raises:** `InputError` for a radius or a steepness that is not positive.
    """

    radius: float
    steepness: float

    def __post_init__(self):
        _check_positive("radius", self.radius)
        _check_positive("steepness", self.steepness)

    def __call__(self, squared: Float[Array, "n"]) -> Float[Array, "n"]:
        """The contact of points at squared distances."""
        # tanh, as the exponential overflows for points far apart
        return 0.5 * (1 - jnp.tanh(0.5 * self.steepness * (_root(squared) - self.radius)))


@dataclass(frozen=True)
class Contacts:
    """A contact map: for each pair how nearly its points touch, from 0 to 1.

    **Arguments:**

    - `switch`: from squared distances to contacts.
    - `pairs`, `spatial_dimension`: as in `Distances`.
    """

    switch: RationalSwitch | FermiSwitch
    pairs: Pairs | None = None
    spatial_dimension: int = 3

    def __post_init__(self):
        _check_dimension(self.spatial_dimension)
        if self.pairs is not None:
            object.__setattr__(self, "pairs", _groups("pairs", self.pairs, 2))

    def __call__(self, observed: Float[Array, "Y"]) -> Float[Array, "F"]:
        """One contact for each pair."""
        return self.switch(_squared_lengths(observed, self.pairs, self.spatial_dimension))


@dataclass(frozen=True)
class Torsions:
    """Cosine and sine of torsions of four points in space, one pair of numbers after the other.

    The angle is zero where the outer points eclipse each other, and positive where the farther bond is turned
    clockwise from the nearer one. Both numbers are zero where three points lie on a line.

    **Arguments:**

    - `points`: four for each torsion, counted from zero.

    Source of the sign: IUPAC Compendium of Chemical Terminology, torsion angle; of the formula: Blondel & Karplus,
    J. Comput. Chem. 17, 1132 (1996).
    """

    points: tuple[tuple[int, int, int, int], ...]

    def __post_init__(self):
        object.__setattr__(self, "points", _groups("points", self.points, 4))

    def __call__(self, observed: Float[Array, "Y"]) -> Float[Array, "F"]:
        """Cosine and sine of each torsion, `(2 * torsions,)`."""
        where = _positions(observed, 3, "points", self.points)
        first, second, third, fourth = (where[np.array(column)] for column in zip(*self.points, strict=True))
        before, axis, after = second - first, third - second, fourth - third
        near, far = jnp.cross(before, axis), jnp.cross(axis, after)
        cosine = jnp.sum(near * far, axis=1)
        sine = _root(jnp.sum(axis**2, axis=1)) * jnp.sum(before * far, axis=1)
        length = _root(cosine**2 + sine**2)
        safe = jnp.where(length > 0, length, 1.0)
        return (jnp.stack([cosine, sine], axis=1) / safe[:, None]).reshape(-1)


@dataclass(frozen=True)
class Angles:
    """Cosine and sine of coordinates that are angles in radians, one pair of numbers after the other.

    **Arguments:**

    - `coordinates`: of the observed state, counted from zero; `None` for all.
    """

    coordinates: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.coordinates is not None:
            flat = _groups("coordinates", [(index,) for index in self.coordinates], 1)
            object.__setattr__(self, "coordinates", tuple(index for (index,) in flat))

    def __call__(self, observed: Float[Array, "Y"]) -> Float[Array, "F"]:
        """Cosine and sine of each coordinate, `(2 * angles,)`."""
        chosen = np.arange(observed.size) if self.coordinates is None else np.array(self.coordinates)
        _check_within("coordinates", chosen, observed.size)
        angle = observed[chosen]
        return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1).reshape(-1)


@dataclass(frozen=True)
class Function:
    """A user's own features, `(Y,)` to `(F,)` or to one number."""

    function: Callable[[Float[Array, "Y"]], Array]

    def __call__(self, observed: Float[Array, "Y"]) -> Float[Array, "F"]:
        """Its value as a vector."""
        return jnp.reshape(jnp.asarray(self.function(observed), float), (-1,))


@dataclass(frozen=True)
class Stack:
    """Several maps, their features one after another.

    **Raises:** `InputError` for no maps.
    """

    maps: tuple[Callable[[Float[Array, "Y"]], Float[Array, "F"]], ...]

    def __post_init__(self):
        if not self.maps:
            raise InputError("features", "be one map or more", "none")

    def __call__(self, observed: Float[Array, "Y"]) -> Float[Array, "F"]:
        """All features of one state."""
        return jnp.concatenate([one(observed) for one in self.maps])


def _check_dimension(size: int) -> None:
    if size < 1:
        raise InputError("spatial_dimension", "be 1 or more", size)


def _check_positive(name: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise InputError(name, "be positive", value)


def _check_within(name: str, indices: Any, size: int) -> None:
    if np.max(indices) >= size:
        raise InputError(name, f"count from 0 to {size - 1}, for there are {size}", int(np.max(indices)))


def _groups(name: str, groups: Sequence[Sequence[int]], size: int) -> tuple[tuple[int, ...], ...]:
    """Groups of different indices, checked, as tuples, so that a map can be hashed."""
    found = tuple(tuple(int(index) for index in group) for group in groups)
    if not found:
        raise InputError(name, f"hold one group of {size} or more", "none")
    for group in found:
        if len(group) != size or len(set(group)) != size or min(group) < 0:
            raise InputError(name, f"hold groups of {size} different whole numbers from 0 on", group)
    return found


def _positions(observed: Float[Array, "Y"], size: int, name: str, groups: Any) -> Float[Array, "points space"]:
    if observed.size % size:
        raise InputError("spatial_dimension", f"divide the {observed.size} numbers of the observed state", size)
    _check_within(name, groups, observed.size // size)
    return observed.reshape(-1, size)


def _squared_lengths(observed: Float[Array, "Y"], pairs: Pairs | None, size: int) -> Float[Array, "F"]:
    chosen = np.stack(np.triu_indices(observed.size // size, 1), axis=1) if pairs is None else np.array(pairs)
    if not len(chosen):
        raise InputError("pairs", "be there: the observed state must have two points or more", observed.size // size)
    where = _positions(observed, size, "pairs", chosen)
    return jnp.sum((where[chosen[:, 0]] - where[chosen[:, 1]]) ** 2, axis=1)


def _root(squared: Float[Array, "n"]) -> Float[Array, "n"]:
    """The square root, with a gradient of zero at zero."""
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)
