"""A window in any JAX function of positions, as a force of OpenMM that calls Python."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import openmm
from jaxtyping import Array, Float

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.geometry import stacked
from micromacro.molecules.system import MolecularSystem
from micromacro.sampling.openmm_bias import parameter_names
from micromacro.sampling.openmm_worker import positions_of
from micromacro.sampling.table import Table
from micromacro.sampling.windows import window_energy


class FunctionBias:
    """What a worker needs to bias a function; can be pickled.

    **Arguments:**

    - `values`: positions `(atoms, 3)` to coarse values `(d,)`.
    - `coarse`: only its range is used.
    - `kT`: in kJ/mol.
    - `table`: the flattening; a worker replaces it by another on the same grid.
    """

    def __init__(self, values: Callable, coarse: CoarseVariable, kT: float, table: Table):
        # the function of the coarse variable would only travel along
        self.values, self.coarse, self.kT, self.table = values, replace(coarse, function=_unused), kT, table

    def force(self) -> openmm.PythonForce:
        """The force, with the global parameters of the centre and the stiffness."""
        evaluate, names = jax.jit(self._energy_and_forces), parameter_names(self.coarse.dimension, None)

        def compute(state: openmm.State) -> tuple[float, np.ndarray]:
            positions, given = positions_of(state), state.getParameters()
            found = np.asarray(evaluate(positions, np.array([given[name] for name in names]), self.table))
            return float(found[0]), found[1:].reshape(-1, 3)

        return openmm.PythonForce(compute, dict.fromkeys(names, 0.0))

    def set_tables(self, arrays: list[tuple]) -> None:
        """Replace the coefficients of the table."""
        (coefficients,) = arrays[0]
        self.table = Table(jnp.asarray(coefficients), self.table.origin, self.table.spacing, self.table.periodic)

    def _energy_and_forces(
        self, positions: Float[Array, "atoms 3"], window: Float[Array, "parameters"], table: Table
    ) -> Float[Array, "numbers"]:
        """The energy and after it the forces, in one array: at every step each costs as much as the function."""

        def energy(positions: Array) -> Float[Array, ""]:
            center, stiffness = jnp.split(window, 2)
            return self.kT * window_energy(self.coarse, center, stiffness, table, self.values(positions))

        value, gradient = jax.value_and_grad(energy)(positions)
        return jnp.concatenate([value[None], -gradient.reshape(-1)])


def coarse_of_positions(system: MolecularSystem, coarse: CoarseVariable) -> Callable:
    """Positions `(atoms, 3)` to coarse values `(d,)`: by the components where there are some."""
    if coarse.components:
        return partial(_of_components, coarse.components, coarse.wrap)
    return partial(_of_observed, system.internal, system.solute, coarse)


def _unused(_: Array) -> Array:
    raise NotImplementedError("only the range of this coarse variable is known here")


def _of_components(components: tuple, wrap: Callable, positions: Float[Array, "atoms 3"]) -> Float[Array, "d"]:
    return wrap(stacked(components, positions))


def _of_observed(internal, solute: np.ndarray, coarse: CoarseVariable, positions: Array) -> Float[Array, "d"]:
    return coarse(internal.encode(positions[solute]))
