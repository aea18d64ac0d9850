r"""A three-atom molecule A-B-C in the plane, B at the origin and A on the x-axis: state (x_a, x_c, y_c).

$V = (r_{ab} - 1)^2 / 2ε + (r_{bc} - 1)^2 / 2ε + 104 [(θ - π/2)^2 - 0.3838^2]^2$, ξ = θ, the angle ABC, kT = 1.
Cartesian volume is $r dr dθ$, so that F = W(θ), the bending term, up to a constant; and $|\nabla θ|^2 = 1/r_{bc}^2$.

Source: F. Legoll and T. Lelièvre, Nonlinearity 23, 2131 (2010).
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.systems.fibre import fibre_answers
from micromacro.systems.model import OverdampedSystem
from micromacro.systems.quadrature import gauss_legendre, product, sample_line
from micromacro.systems.reference import Reference

STIFFNESS, HALF_WIDTH, MIDDLE = 104.0, 0.3838, np.pi / 2
LOWER, UPPER = 0.87, 2.27  # F rises to 12 kT at both ends


def bending(angle: Float[Array, "..."]) -> Float[Array, "..."]:
    """W(θ) in kT: wells at π/2 ± 0.3838, 2.26 kT deep."""
    return STIFFNESS * ((angle - MIDDLE) ** 2 - HALF_WIDTH**2) ** 2


def angle(state: Float[Array, "3"]) -> Float[Array, "1"]:
    """ξ = θ in (-π, π]."""
    return jnp.arctan2(state[2:], state[1:2])


def three_atom(epsilon: float = 1e-3) -> Reference:
    """The molecule with bonds of stiffness `1 / epsilon`, kT = 1, unit mobility.

    `epsilon` up to 0.01: E[1/r²] diverges logarithmically at r = 0, where the weight is below e^(-1/2ε); the exact
    answers leave out r < 1 - 9 √ε, as any simulation does.
    """

    def potential(state: Float[Array, "3"]) -> Float[Array, ""]:
        bond_ab, bond_bc = state[0], jnp.hypot(state[1], state[2])
        stretch = ((bond_ab - 1) ** 2 + (bond_bc - 1) ** 2) / (2 * epsilon)
        return stretch + bending(angle(state)[0])

    def embed(z: Float[Array, "1"], t: Float[Array, "2"]) -> Float[Array, "3"]:
        return jnp.stack([t[0], t[1] * jnp.cos(z[0]), t[1] * jnp.sin(z[0])])

    wells = MIDDLE + HALF_WIDTH * np.array([-1.0, 1.0])
    initial = np.column_stack([np.ones(2), np.cos(wells), np.sin(wells)])
    system = OverdampedSystem(potential, 3, initial, time_step=0.1 * epsilon)
    width = 9 * np.sqrt(epsilon)
    bond = gauss_legendre((1 - width, 1 + width), panels=1, order=48)
    exact = fibre_answers(
        system,
        angle,
        embed,
        product(bond, bond),
        known="F, moments, b, D by quadrature",
        log_jacobian=lambda _z, t: jnp.log(t[1]),
        sample_conditional=_sampler(epsilon),
    )
    # bonds relax in ε: what is homogenised beyond them is the projected closure, to O(ε)
    exact = replace(exact, homogenised_drift=exact.drift, homogenised_diffusion=exact.diffusion)
    return Reference(system, angle, (LOWER,), (UPPER,), (False,), exact)


def _sampler(epsilon: float):
    width = 9 * np.sqrt(epsilon)
    grid = np.linspace(1 - width, 1 + width, 4001)
    log_density = np.log(grid) - (grid - 1) ** 2 / (2 * epsilon)

    def sample(z, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 3"]:
        bond_ab = 1 + np.sqrt(epsilon) * rng.standard_normal(count)
        bond_bc = sample_line(log_density, grid, count, rng)
        return np.column_stack([bond_ab, bond_bc * np.cos(z[0]), bond_bc * np.sin(z[0])])

    return sample
