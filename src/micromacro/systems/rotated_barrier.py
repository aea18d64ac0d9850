r"""The hidden barrier among curved baths, rotated at random: no coordinate of the state is a slow one.

The state is $q = R (x, y, b)$ with R a fixed rotation and (x, y, b) as in `hidden_barrier`; with unit mobility rotation
changes neither the dynamics nor the Boltzmann law. Both x (4 kT) and y (12 kT) have barriers.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.systems.hidden_barrier import (
    HIDDEN,
    LOWER,
    UPPER,
    WELLS,
    bath_answers,
    bath_deviations,
    bath_potential,
    centres,
    hidden_barrier_potential,
)
from micromacro.systems.model import OverdampedSystem
from micromacro.systems.quadrature import plane_sampler
from micromacro.systems.reference import Reference

CELLS = 1000  # along each axis of the plane (x, y) in exact draws


def rotation(dimension: int) -> Float[np.ndarray, "D D"]:
    """A fixed rotation that mixes all coordinates."""
    matrix, upper = np.linalg.qr(np.random.default_rng(7).standard_normal((dimension, dimension)))
    return matrix * np.sign(np.diag(upper))


def rotated_barrier(dimension: int = 10) -> Reference:
    """The hidden barrier with `dimension - 2` curved baths, seen rotated; ξ = x is a mixture of all coordinates."""
    turn = rotation(dimension)
    straight = bath_potential(dimension)

    def coarse(state: Float[Array, "D"]) -> Float[Array, "1"]:
        return (jnp.asarray(turn.T) @ state)[:1]

    initial = np.asarray(jax.jit(jax.vmap(partial(centres, dimension - 2)))(WELLS)) @ turn.T
    system = OverdampedSystem(lambda state: straight(turn.T @ state), dimension, initial, time_step=1e-3)
    exact = replace(
        bath_answers(dimension - 2, turn),
        known="draws of the whole law; F, hidden weight, b, D of x by quadrature",
        hidden_indicator=lambda state: jnp.where((turn.T @ state)[1] > 0, 1.0, 0.0),
        sample_stationary=partial(_sample, turn),
    )
    return Reference(system, coarse, (LOWER,), (UPPER,), (False,), exact)


def _sample(turn: np.ndarray, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count D"]:
    baths = len(turn) - 2
    axes = [np.linspace(end, -end, CELLS) for end in (-2.2, HIDDEN[0])]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    density = jax.jit(jax.vmap(lambda plane: -hidden_barrier_potential(plane)))
    plane = plane_sampler(density, grid, (CELLS, CELLS))(count, rng)
    straight = np.array(jax.jit(jax.vmap(partial(centres, baths)))(plane))
    straight[:, 2:] += bath_deviations(baths) * rng.standard_normal((count, baths))
    return straight @ turn.T
