"""Checks of a user's functions before they are used: shapes by tracing, values at the given points."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from micromacro.errors import InputError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Checked:
    """A user's function and where it was named, for messages.

    **Arguments:**

    - `function`: of one array.
    - `key`: of the case file.
    - `source`: the case file.
    """

    function: Callable
    key: str
    source: str

    def output(self, argument: Shape) -> jax.ShapeDtypeStruct:
        """What the function returns for an array of this shape, found by tracing."""
        try:
            output = jax.eval_shape(self.function, jax.ShapeDtypeStruct(argument, jnp.float64))
        except Exception as error:
            requirement = f"take one array of shape {argument} and be written with jax.numpy"
            raise self._problem(requirement, _first_line(error)) from error
        if not isinstance(output, jax.ShapeDtypeStruct):
            raise self._problem("return one array", f"a {type(output).__name__}")
        return output

    def returns(self, argument: Shape, *allowed: Shape) -> None:
        """Refuse a function whose value has none of the allowed shapes."""
        shape = self.output(argument).shape
        if shape not in allowed:
            wanted = " or ".join(str(one) for one in allowed)
            raise self._problem(f"return shape {wanted} for an array of shape {argument}", f"shape {shape}")

    def vector(self, argument: Shape) -> int:
        """The length of the vector that the function returns; refuse one that returns something else."""
        shape = self.output(argument).shape
        if len(shape) != 1:
            raise self._problem(f"return shape (Y,) for an array of shape {argument}", f"shape {shape}")
        return shape[0]

    def finite(self, points: np.ndarray, *, gradient: bool = False) -> None:
        """Refuse a function that is not finite at one of the points `(n, D)`; with `gradient`, its gradient too."""
        self._finite(self.function, "value", points)
        if gradient:
            self._finite(jax.grad(self.function), "gradient", points)

    def _finite(self, function: Callable, what: str, points: np.ndarray) -> None:
        requirement = f"have a finite {what} at every initial point"
        try:
            values = np.asarray(jax.jit(jax.vmap(function))(jnp.asarray(points)))
        except Exception as error:
            raise self._problem(requirement, _first_line(error)) from error
        for point, value in zip(points, values, strict=True):
            if not np.all(np.isfinite(value)):
                raise self._problem(requirement, f"{value} at {point}")

    def inverts(self, forward: Callable, points: np.ndarray) -> None:
        """Refuse a function that is not the inverse of `forward` at the points `(n, D)`."""
        back = jax.vmap(lambda point: self.function(forward(point)))(jnp.asarray(points))
        for point, value in zip(points, np.asarray(back), strict=True):
            if not np.allclose(point, value, rtol=1e-6, atol=1e-8):
                raise self._problem("undo 'observe' at every initial point", f"{value} for {point}")

    def _problem(self, requirement: str, given: object) -> InputError:
        return InputError(self.key, requirement, given, source=self.source)


def as_real(function: Callable) -> Callable:
    """The same function with a floating-point value: an indicator `q[0] > 0` can then be averaged."""
    return lambda state: jnp.asarray(function(state), float)


def _first_line(error: Exception) -> str:
    lines: Sequence[str] = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".rstrip(". ")
