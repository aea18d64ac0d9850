r"""Curved level sets: a case in which the two conditional measures of a coarse variable differ widely.

ξ = q_1 + ½ q_2² has $|\nabla ξ|^2 = 1 + q_2^2$. With $W$ a double well in q_2 between 0 and 3,
$V = 1.5 (ξ^2 - 1)^2 + (((q_2 - 1.5)/1.5)^2 - 1)^2 + 0.2 ξ (q_2 - 1.5)$, kT = ½ and mobilities (1, ½).

Every level set holds a well near q_2 = 0, where |∇ξ| = 1, and one near q_2 = 3, where |∇ξ| = √10. The δ weighs them by
$e^{-V/kT}/|\nabla ξ|$ per area, the surface measure without the gradient: it would make the odds
of the second well 2.7 times too high.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.systems.fibre import fibre_answers, line_sampler
from micromacro.systems.model import OverdampedSystem
from micromacro.systems.quadrature import gauss_legendre
from micromacro.systems.reference import Reference

LOWER, UPPER = -1.5, 1.5
FREE = (-2.5, 1.5, 5.5)  # integration over q_2; the indicator jumps at 1.5
THERMAL_ENERGY = 0.5
MOBILITY = (1.0, 0.5)


def parabolic(state: Float[Array, "2"]) -> Float[Array, "1"]:
    """ξ = q_1 + ½ q_2²."""
    return state[:1] + 0.5 * state[1:] ** 2


def curved_potential(state: Float[Array, "2"]) -> Float[Array, ""]:
    """V in units in which kT is ½."""
    level, offset = parabolic(state)[0], state[1] - 1.5
    return 1.5 * (level**2 - 1) ** 2 + ((offset / 1.5) ** 2 - 1) ** 2 + 0.2 * level * offset


def steep_well(state: Float[Array, "2"]) -> Float[Array, ""]:
    """1 where q_2 > 1.5, the well in which |∇ξ| is large, else 0."""
    return jnp.where(state[1] > 1.5, 1.0, 0.0)


def embed_parabolic(z: Float[Array, "1"], t: Float[Array, "1"]) -> Float[Array, "2"]:
    """The state with ξ = z and q_2 = t; its Jacobian is one."""
    return jnp.concatenate([z - 0.5 * t**2, t])


def curved_level_sets() -> Reference:
    """Overdamped dynamics of (q_1, q_2), kT = ½, mobilities (1, ½)."""
    initial = np.array([[-1.0, 0.0], [1.0, 0.0], [-5.5, 3.0], [-3.5, 3.0]])
    system = OverdampedSystem(
        curved_potential, 2, initial, kT=THERMAL_ENERGY, mobility=np.array(MOBILITY), time_step=1e-3
    )
    exact = fibre_answers(
        system,
        parabolic,
        embed_parabolic,
        gauss_legendre(FREE),
        known="F, hidden weight, moments, b, D by quadrature",
        hidden_indicator=steep_well,
        sample_conditional=line_sampler(system.log_density, embed_parabolic, np.linspace(FREE[0], FREE[-1], 4001)),
    )
    return Reference(system, parabolic, (LOWER,), (UPPER,), (False,), exact)
