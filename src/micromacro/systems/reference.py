"""A reference system: a model, its coarse function with a range, and what is known exactly."""

from collections.abc import Callable
from dataclasses import dataclass

from micromacro.systems.exact import ExactAnswers
from micromacro.systems.model import System


@dataclass(frozen=True)
class Reference:
    """A micro model that carries its truth.

    **Arguments:**

    - `system`: the model.
    - `coarse`: observed state `(Y,)` to coarse value `(d,)`, written with `jax.numpy`.
    - `lower`, `upper`: the range of interest of each coarse component, `d` numbers.
    - `periodic`: whether a component is periodic with period `upper - lower`, `d` booleans.
    - `exact`: the exact answers over that range.
    """

    system: System
    coarse: Callable
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    periodic: tuple[bool, ...]
    exact: ExactAnswers
