"""Lifting for the coarse time stepper: a coarse value to an ensemble of hidden states, by generator or by physics."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.generators.generator import DensityGenerator, Generator
from micromacro.systems.model import System

Lift: TypeAlias = Callable[[np.ndarray, int, Key[Array, ""]], np.ndarray]
"""Coarse state `(m,)`, a number of states and a key to hidden states `(count, D)`; the same key, the same draws."""


@runtime_checkable
class Lifter(Protocol):
    """What lifts exactly, such as the `Result` of a run: its `lift` returns an object whose `q` is `(n, Y)`."""

    def lift(self, z: np.ndarray, n: int, *, exact: bool = True, width: float | None = None, seed: int = 0) -> Any:
        """`n` observed states at each coarse value `(1, d)`."""
        ...


def lift_raw(generator: Generator | DensityGenerator, system: System, coarse: CoarseVariable) -> Lift:
    """The generator alone: smooth in z at a fixed key, but as right as its training, and blurred about z.

    **Raises:** `InputError` for a system that cannot be started from what is observed.
    """
    invert = _inverse(system)

    @eqx.filter_jit
    def draw(generator, z, keys):
        return jax.vmap(lambda key: invert(generator.sample(z, key).astype(float)))(keys)

    def lift(z: np.ndarray, count: int, key: Key[Array, ""]) -> np.ndarray:
        return np.asarray(draw(generator, coarse.wrap(jnp.asarray(z)), jax.random.split(key, count)))

    return lift


def lift_exactly(result: Lifter, system: System, coarse: CoarseVariable, *, width: float | None = None) -> Lift:
    """Draws corrected by the physics, from the result of a run; resampled, hence not smooth in z at a fixed key.

    Finite differences over it need steps of the size of `width`, one per cent of the range where left out.

    **Raises:** `InputError` for a system that cannot be started from what is observed.
    """
    invert = jax.jit(jax.vmap(_inverse(system)))

    def lift(z: np.ndarray, count: int, key: Key[Array, ""]) -> np.ndarray:
        seed = int(jax.random.bits(key, (), jnp.uint32))
        value = np.asarray(coarse.wrap(jnp.asarray(z)))[None]
        return np.asarray(invert(jnp.asarray(result.lift(value, count, width=width, seed=seed).q)))

    return lift


def lift_conditional(
    sample: Callable[[np.ndarray, int, np.random.Generator], Float[np.ndarray, "n Y"]], system: System
) -> Lift:
    """Exact draws given ξ, where a closed form of them is known: `ExactAnswers.sample_conditional`.

    **Raises:** `InputError` for a system that cannot be started from what is observed.
    """
    invert = jax.jit(jax.vmap(_inverse(system)))

    def lift(z: np.ndarray, count: int, key: Key[Array, ""]) -> np.ndarray:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        return np.asarray(invert(jnp.asarray(sample(z, count, rng))))

    return lift


def _inverse(system: System) -> Callable[[Float[Array, "Y"]], Float[Array, "D"]]:
    if system.hidden is None:
        raise InputError("[system] hidden", "be given to simulate from lifted states", "none")
    return system.hidden
