"""Coordinates of two rounds of learning: brought into the order, sign and scale of the former, and compared."""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.optimize import linear_sum_assignment

from micromacro.errors import InputError
from micromacro.learners.metrics import rank_correlation


class Aligned(eqx.Module):
    r"""A coordinate in the order, sign and scale of another: $s \psi_o + c$.

    **Arguments:**

    - `coordinate`: features `(F,)` to `(k,)`.
    - `order`: which of its components stands where, `(d,)`.
    - `scale`, `offset`: `(d,)`.
    """

    coordinate: eqx.Module
    order: Int[Array, "d"]
    scale: Float[Array, "d"]
    offset: Float[Array, "d"]

    def __call__(self, features: Float[Array, "F"]) -> Float[Array, "d"]:
        """The coordinate of one point."""
        return self.scale * self.coordinate(features)[self.order] + self.offset  # pyright: ignore[reportCallIssue]


@dataclass(frozen=True, eq=False)
class Alignment:
    """What brings new values into the order, sign and scale of previous ones: `scale * new[:, order] + offset`.

    **Arguments:**

    - `order`: `(d,)`; `scale`: `(d,)`, of either sign; `offset`: `(d,)`.
    - `correlation`: of each previous component with the new one in its place, by rank and without sign, `(d,)`.
    """

    order: Int[np.ndarray, "d"]
    scale: Float[np.ndarray, "d"]
    offset: Float[np.ndarray, "d"]
    correlation: Float[np.ndarray, "d"]

    def of_values(self, new: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n d"]:
        """New values as the previous coordinate would have them."""
        return self.scale * new[:, self.order] + self.offset

    def of_coordinate(self, coordinate: eqx.Module) -> Aligned:
        """The new coordinate as a module in the previous one's order, sign and scale."""
        return Aligned(coordinate, jnp.asarray(self.order), jnp.asarray(self.scale), jnp.asarray(self.offset))


@dataclass(frozen=True, eq=False)
class Change:
    """How much a coordinate changed between two rounds.

    **Arguments:**

    - `change`: one minus the rank correlation without sign, of each component, `(d,)`.
    - `tolerance`: below which a coordinate has settled.
    """

    change: Float[np.ndarray, "d"]
    tolerance: float

    @property
    def settled(self) -> bool:
        """Whether every component changed by less than the tolerance."""
        return bool(np.all(self.change < self.tolerance))


def align(
    previous: Float[np.ndarray, "n d"],
    new: Float[np.ndarray, "m k"],
    weight: Float[np.ndarray, "n"],
    *,
    rescale: bool = False,
) -> Alignment:
    """The order, sign, scale and offset that make new values most like previous ones, at the same weighted points.

    Components are assigned to one another by absolute rank correlation. Coordinates by the arc length have a scale of
    their own, so that only sign and offset are sought unless `rescale` is set; then the spreads agree too. The offset
    makes weighted medians agree.

    **Raises:** `InputError` for fewer new components than previous ones, or points that do not correspond.
    """
    if len(previous) != len(new):
        raise InputError("new", f"hold values at the same {len(previous)} points", len(new))
    if new.shape[1] < previous.shape[1]:
        raise InputError("new", f"have {previous.shape[1]} components or more", new.shape[1])
    correlation = np.array([[rank_correlation(a, b, weight) for b in new.T] for a in previous.T])
    rows, order = linear_sum_assignment(-np.abs(correlation))
    found = correlation[rows, order]
    scale = np.where(found < 0, -1.0, 1.0)
    if rescale:
        scale = scale * _spread(previous, weight) / _spread(new[:, order], weight)
    offset = _medians(previous, weight) - _medians(scale * new[:, order], weight)
    return Alignment(order, scale, offset, np.abs(found))


def settled(
    previous: Callable[[Float[Array, "F"]], Float[Array, "d"]],
    new: Callable[[Float[Array, "F"]], Float[Array, "d"]],
    points: Float[np.ndarray, "n F"],
    weight: Float[np.ndarray, "n"],
    tolerance: float,
) -> Change:
    """Whether two coordinates order the same weighted points alike, up to order and sign of their components."""
    before, after = (np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(points))) for one in (previous, new))
    return Change(1 - align(before, after, weight).correlation, tolerance)


def _spread(values: np.ndarray, weight: np.ndarray) -> Float[np.ndarray, "d"]:
    mean = np.average(values, axis=0, weights=weight)
    return np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weight))


def _medians(values: np.ndarray, weight: np.ndarray) -> Float[np.ndarray, "d"]:
    order = np.argsort(values, axis=0)
    cumulative = np.cumsum(weight[order], axis=0)
    middle = [np.searchsorted(column, 0.5 * column[-1]) for column in cumulative.T]
    return np.array([values[order[row, i], i] for i, row in enumerate(middle)])
