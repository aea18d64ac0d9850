r"""Two coarse variables over a hidden barrier: state (x, w, y), ξ = (x, w), kT = 1, mobilities (1, ½, 1).

$V = 3 (x^2 - 1)^2 + 2 (w^2 - 1)^2 + 0.8 x w + 12 (y^2 - 1)^2 + (1.2 x + 0.8 w) y$
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.systems.fibre import fibre_answers, line_sampler
from micromacro.systems.model import OverdampedSystem
from micromacro.systems.quadrature import gauss_legendre
from micromacro.systems.reference import Reference

BOUND = 1.6
HIDDEN = (-2.5, 0.0, 2.5)  # integration over y; the indicator jumps at 0


def two_coarse_potential(state: Float[Array, "3"]) -> Float[Array, ""]:
    """V in kT."""
    x, w, y = state[0], state[1], state[2]
    seen = 3 * (x**2 - 1) ** 2 + 2 * (w**2 - 1) ** 2 + 0.8 * x * w
    return seen + 12 * (y**2 - 1) ** 2 + (1.2 * x + 0.8 * w) * y


def first_two(state: Float[Array, "3"]) -> Float[Array, "2"]:
    """ξ = (x, w)."""
    return state[:2]


def upper_well(state: Float[Array, "3"]) -> Float[Array, ""]:
    """1 where y > 0, else 0."""
    return jnp.where(state[2] > 0, 1.0, 0.0)


def embed_third(z: Float[Array, "2"], t: Float[Array, "1"]) -> Float[Array, "3"]:
    """The state with (x, w) = z and y = t."""
    return jnp.concatenate([z, t])


def two_coarse_variables() -> Reference:
    """Overdamped dynamics of (x, w, y); starting points in the wells of (x, w), both signs of y among them."""
    initial = np.array([[-1.0, -1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [1.0, 1.0, -1.0]])
    system = OverdampedSystem(two_coarse_potential, 3, initial, mobility=np.array([1.0, 0.5, 1.0]), time_step=1e-3)
    exact = fibre_answers(
        system,
        first_two,
        embed_third,
        gauss_legendre(HIDDEN),
        known="F, hidden weight, moments, b, D by quadrature",
        hidden_indicator=upper_well,
        sample_conditional=line_sampler(system.log_density, embed_third, np.linspace(HIDDEN[0], HIDDEN[-1], 4001)),
    )
    return Reference(system, first_two, (-BOUND, -BOUND), (BOUND, BOUND), (False, False), exact)
