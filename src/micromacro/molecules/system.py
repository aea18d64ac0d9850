"""A molecule as a micro model: Langevin dynamics of its atoms, seen through internal coordinates."""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.periodicity import find_state_space
from micromacro.coordinates.space import Space
from micromacro.errors import InputError
from micromacro.molecules.internal_coordinates import InternalCoordinates
from micromacro.systems.model import OverdampedSystem, StochasticSystem, System

GAS_CONSTANT = 8.31446261815324e-3
"""In kJ/mol/K."""


@dataclass(frozen=True, eq=False)
class MolecularSystem:
    r"""Langevin dynamics of atoms under a force field of OpenMM.

    The simulated state x is all positions in nm, `(3 atoms,)`; what is observed of it, u = `observe(x)`, are the
    internal coordinates of the solute, which do not see how it lies in space.

    **Arguments:**

    - `topology`: atoms, residues and bonds, by mdtraj.
    - `forces`: a serialised OpenMM System, constraints included.
    - `initial`: starting positions `(n, 3 atoms)` in nm, molecules whole.
    - `internal`: the internal coordinates of the solute.
    - `masses`: `(atoms,)` in atomic units; `solute`: indices of the atoms that `internal` describes.
    - `temperature` in K, `friction` in 1/ps, `time_step` in ps.
    """

    topology: mdtraj.Topology
    forces: str = field(repr=False)
    initial: Float[np.ndarray, "n D"]
    internal: InternalCoordinates
    masses: Float[np.ndarray, "atoms"]
    solute: Int[np.ndarray, "solute"]
    temperature: float = 300.0
    friction: float = 1.0
    time_step: float = 0.002

    has_density = True
    # a chunk of frames must be long beside what velocities remember: they are drawn anew with each
    frame_steps = 50

    @property
    def atoms(self) -> int:
        """The number of atoms."""
        return len(self.masses)

    @property
    def dimension(self) -> int:
        """The number of coordinates of the simulated state."""
        return 3 * self.atoms

    @property
    def kT(self) -> float:  # noqa: N802
        """Thermal energy in kJ/mol."""
        return GAS_CONSTANT * self.temperature

    def positions(self, state: Float[Array, "D"]) -> Float[Array, "atoms 3"]:
        """The positions of all atoms."""
        return state.reshape(self.atoms, 3)

    def observe(self, state: Float[Array, "D"]) -> Float[Array, "Y"]:
        """The internal coordinates of the solute, bonds in nm, angles in radians."""
        return self.internal.encode(self.positions(state)[self.solute])

    @property
    def hidden(self) -> Callable[[Float[Array, "Y"]], Float[Array, "D"]] | None:
        """From internal coordinates to positions; `None` where they do not determine all atoms."""
        if len(self.solute) < self.atoms or self.internal.reason:
            return None
        return lambda observed: self.internal.decode(observed).reshape(-1)

    def mirrored(self, states: Float[np.ndarray, "n D"]) -> Bool[np.ndarray, "n"]:
        """Whether a centre has another chirality than in the starting structures; never where it is not a number."""
        return np.any(self.mirrored_torsions(states), axis=1)

    def mirrored_torsions(self, states: Float[np.ndarray, "n D"]) -> Bool[np.ndarray, "n k"]:
        """Which of the torsions that tell chirality, `internal.chiral`, have another sign."""
        atoms, sign = self.internal.chiral
        a, b, c, d = np.moveaxis(states.reshape(len(states), -1, 3)[:, self.solute[atoms]], 2, 0)
        # the sign of a torsion, for less than the angle costs
        volume = np.einsum("nkx,nkx->nk", b - a, np.cross(c - b, d - c))
        return np.less(sign * volume, 0)

    def log_volume(self, state: Float[Array, "D"]) -> Float[Array, ""]:
        r"""The logarithm of what a density of internal coordinates gains as one of positions, up to a constant."""
        return -self.internal.log_jacobian(self.observe(state))

    def diffusion(self, state: Float[Array, "D"]) -> Float[Array, "D"]:
        r"""$\sqrt{2 kT / (m γ)}$, `(D,)` in nm/√ps: the noise of positions over times long beside 1/γ."""
        return jnp.sqrt(2 * self.kT / (self.friction * jnp.repeat(self.masses, 3))) * jnp.ones_like(state)


AnySystem = OverdampedSystem | StochasticSystem | MolecularSystem


def of_equations(system: AnySystem) -> System:
    """The same system. **Raises:** `InputError` for a molecule, which has no drift of positions alone."""
    if isinstance(system, MolecularSystem):
        raise InputError("system.kind", "be overdamped or sde for this", "openmm")
    return system


def observed_space(system: AnySystem, coarse: CoarseVariable) -> Space:
    """Where observed states live: known for the internal coordinates of a molecule, found by trying elsewhere."""
    if isinstance(system, MolecularSystem):
        return system.internal.space
    return find_state_space(system, coarse)


def exposed(system: AnySystem, states: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n ..."]:
    """What a user sees of states: positions `(n, atoms, 3)` of a molecule, else what is observed, `(n, Y)`."""
    if isinstance(system, MolecularSystem):
        return np.asarray(states).reshape(-1, system.atoms, 3)
    return np.asarray(jax.vmap(system.observe)(jnp.asarray(states)))
