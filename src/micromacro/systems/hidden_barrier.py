r"""Hidden barriers: a double well that the coarse variable sees, and a higher one across it that it does not.

$V = 4 (x^2 - 1)^2 + 12 (y^2 - 1)^2 + 1.5 x y$ with kT = 1 and ξ = x: at every x, walkers must cross 12 kT in y to weigh
the wells $y < 0$ and $y > 0$ rightly. Umbrella sampling in x alone fails it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.systems.exact import ExactAnswers
from micromacro.systems.fibre import Fibre, fibre_answers, line_sampler, unit_volume
from micromacro.systems.model import OverdampedSystem
from micromacro.systems.quadrature import gauss_legendre
from micromacro.systems.reference import Reference

LOWER, UPPER = -1.8, 1.8
HIDDEN = (-2.5, 0.0, 2.5)  # integration over y; the indicator jumps at 0
WELLS = np.array([[-1.0, -1.0], [1.0, 1.0]])
GRID = np.linspace(HIDDEN[0], HIDDEN[-1], 4001)


def hidden_barrier_potential(state: Float[Array, "D"]) -> Float[Array, ""]:
    """V of the first two coordinates, in kT."""
    x, y = state[0], state[1]
    return 4 * (x**2 - 1) ** 2 + 12 * (y**2 - 1) ** 2 + 1.5 * x * y


def first_coordinate(state: Float[Array, "D"]) -> Float[Array, "1"]:
    """ξ = x."""
    return state[:1]


def upper_well(state: Float[Array, "D"]) -> Float[Array, ""]:
    """1 where y > 0, else 0."""
    return jnp.where(state[1] > 0, 1.0, 0.0)


def embed_second(z: Float[Array, "1"], t: Float[Array, "1"]) -> Float[Array, "2"]:
    """The state with x = z and y = t."""
    return jnp.concatenate([z, t])


def hidden_barrier() -> Reference:
    """The two-dimensional hidden barrier, state (x, y), kT = 1, unit mobility."""
    system = OverdampedSystem(hidden_barrier_potential, 2, WELLS, time_step=1e-3)
    exact = fibre_answers(
        system,
        first_coordinate,
        embed_second,
        gauss_legendre(HIDDEN),
        known="F, hidden weight, moments, b, D by quadrature",
        hidden_indicator=upper_well,
        sample_conditional=line_sampler(system.log_density, embed_second, GRID),
    )
    return Reference(system, first_coordinate, (LOWER,), (UPPER,), (False,), exact)


def bath_deviations(count: int) -> Float[np.ndarray, "count"]:
    """Standard deviations of the baths, spread over 0.3 to 0.6."""
    return 0.3 + 0.3 * np.mod(0.5 + 0.6180339887 * np.arange(count), 1.0)


def bath_means(x: Float[Array, ""], y: Float[Array, ""], count: int) -> Float[Array, "count"]:
    r"""Means of the baths at `x` and `y`.

    $m_i = 0.8 \sin(1.5 x + i) + 0.5 y \cos(0.7 i) + 0.4 x y \sin(1.3 i) + 0.3 y^2$
    """
    index = np.arange(1.0, count + 1)
    bend, slope, twist = 0.8 * jnp.sin(1.5 * x + index), 0.5 * np.cos(0.7 * index), 0.4 * np.sin(1.3 * index)
    return bend + slope * y + twist * (x * y) + 0.3 * y**2


def bath_potential(dimension: int) -> Callable:
    """State `(dimension,)` to V in kT: the hidden barrier and a Gaussian around every bath's curved mean."""
    count = dimension - 2
    deviations = bath_deviations(count)

    def potential(state: Float[Array, "D"]) -> Float[Array, ""]:
        displacement = (state[2:] - bath_means(state[0], state[1], count)) / deviations
        return hidden_barrier_potential(state) + 0.5 * jnp.sum(displacement**2)

    return potential


def hidden_barrier_bath(dimension: int = 20) -> Reference:
    """The hidden barrier with `dimension - 2` curved Gaussian baths, state (x, y, b_1, ...), kT = 1, unit mobility.

    The baths' normalisation depends on neither x nor y, so that F, hidden weight, b and D are those without baths.
    """
    count = dimension - 2
    initial = np.asarray(jax.jit(jax.vmap(partial(centres, count)))(WELLS))
    system = OverdampedSystem(bath_potential(dimension), dimension, initial, time_step=1e-3)
    return Reference(system, first_coordinate, (LOWER,), (UPPER,), (False,), bath_answers(count, np.eye(dimension)))


def bath_answers(count: int, turn: Float[np.ndarray, "D D"]) -> ExactAnswers:
    """Exact answers with `count` baths, of the state that the matrix `turn` makes of (x, y, b_1, ...)."""
    base, fixed = hidden_barrier().exact, np.append(np.zeros(2), bath_deviations(count) ** 2)
    fibre = Fibre(lambda plane: -hidden_barrier_potential(plane), embed_second, unit_volume, gauss_legendre(HIDDEN))
    mean = fibre.average(lambda plane: turn @ centres(count, plane))
    second = fibre.average(lambda plane: (turn @ centres(count, plane)) ** 2)
    sample_plane = line_sampler(fibre.log_density, embed_second, GRID)
    batched = jax.jit(jax.vmap(partial(centres, count)))

    def sample(z, draws: int, rng: np.random.Generator) -> Float[np.ndarray, "draws D"]:
        plane = sample_plane(z, draws, rng)
        straight = np.asarray(batched(plane)) + np.sqrt(fixed) * rng.standard_normal((draws, count + 2))
        return straight @ turn.T

    return replace(
        base,
        conditional_mean=mean,
        conditional_variance=lambda z: turn**2 @ fixed + np.maximum(second(z) - mean(z) ** 2, 0.0),
        sample_conditional=sample,
    )


def centres(count: int, plane: Float[Array, "2"]) -> Float[Array, "D"]:
    """The state (x, y) followed by the means of `count` baths there."""
    return jnp.concatenate([plane, bath_means(plane[0], plane[1], count)])
