r"""The Müller-Brown surface, $V = \sum_k A_k \exp(a_k \delta_x^2 + b_k \delta_x \delta_y + c_k \delta_y^2)$.

Source: K. Müller and L. D. Brown, Theoretica Chimica Acta 53, 75 (1979).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.errors import InputError
from micromacro.systems.fibre import fibre_answers, line_sampler
from micromacro.systems.model import OverdampedSystem
from micromacro.systems.quadrature import gauss_legendre
from micromacro.systems.reference import Reference

HEIGHTS = np.array([-200.0, -100.0, -170.0, 15.0])
XX = np.array([-1.0, -1.0, -6.5, 0.7])
XY = np.array([0.0, 0.0, 11.0, 0.6])
YY = np.array([-10.0, -10.0, -6.5, 0.7])
CENTRE_X = np.array([1.0, 0.0, -0.5, -1.0])
CENTRE_Y = np.array([0.0, 0.5, 1.5, 1.0])

MINIMA = np.array([[0.6234994, 0.0280378], [-0.0500108, 0.4666941], [-0.5582236, 1.4417258]])
SADDLES = np.array([[0.2124866, 0.2929883], [-0.8220016, 0.6243128]])

RANGES = {"x": (-1.5, 1.2), "y": (-0.4, 2.0)}
FREE = {"x": (-3.0, 4.5), "y": (-3.5, 3.0)}  # integration over the other coordinate, wide enough up to kT = 30


def muller_brown_potential(state: Float[Array, "2"]) -> Float[Array, ""]:
    """V at (x, y); the lowest minimum is at -146.70."""
    x, y = state[0] - CENTRE_X, state[1] - CENTRE_Y
    return jnp.sum(HEIGHTS * jnp.exp(XX * x**2 + XY * x * y + YY * y**2))


def muller_brown(kT: float = 15.0, coordinate: str = "x") -> Reference:
    """Overdamped dynamics on the surface, state (x, y), unit mobility; ξ is x or y.

    `kT` is in the units of V; the quadrature holds from 5 to 30. The exact free energy is in kT, as everywhere.
    """
    if coordinate not in RANGES:
        raise InputError("coordinate", "be 'x' or 'y'", repr(coordinate))
    axis = "xy".index(coordinate)
    system = OverdampedSystem(muller_brown_potential, 2, MINIMA, kT=kT, time_step=2e-5)
    lower, upper = RANGES[coordinate]

    def coarse(state: Float[Array, "2"]) -> Float[Array, "1"]:
        return state[axis : axis + 1]

    def embed(z: Float[Array, "1"], t: Float[Array, "1"]) -> Float[Array, "2"]:
        return jnp.concatenate([z, t] if axis == 0 else [t, z])

    exact = fibre_answers(
        system,
        coarse,
        embed,
        gauss_legendre(FREE[coordinate], panels=16),
        known="F, moments, b, D by quadrature",
        sample_conditional=line_sampler(system.log_density, embed, np.linspace(*FREE[coordinate], 8001)),
    )
    return Reference(system, coarse, (lower,), (upper,), (False,), exact)
