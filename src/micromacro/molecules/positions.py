"""Functions of the positions of a molecule as functions of what is observed, its internal coordinates."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.features import Stack
from micromacro.coordinates.geometry import Angle, Atoms, Distance, Geometry, PositionFunction, Torsion
from micromacro.errors import InputError
from micromacro.molecules.system import AnySystem, MolecularSystem

SAME = 1e-5
"""In nm: positions that are rebuilt from internal coordinates agree so well with those they are of."""
MOVED = 1e-6
"""Relative change of a function under rigid motion that is still no change."""


@dataclass(frozen=True, eq=False)
class OfPositions:
    """A function of the solute's positions as one of its internal coordinates.

    **Arguments:**

    - `function`: positions `(solute, 3)` in nm to anything.
    - `system`: whose solute it is.
    - `flat`: whether the function takes `(3 solute,)` instead.
    """

    function: Callable
    system: MolecularSystem
    flat: bool = False

    def __call__(self, observed: Float[Array, "Y"]) -> Array:
        """The value of the function."""
        positions = self.system.internal.decode(observed)
        return self.function(positions.reshape(-1) if self.flat else positions)


@dataclass(frozen=True)
class Coordinate:
    """The observable that is one internal coordinate."""

    index: int

    def __call__(self, observed: Float[Array, "Y"]) -> Float[Array, ""]:
        """Its value."""
        return observed[self.index]


def solute_positions(system: MolecularSystem) -> Float[np.ndarray, "n solute 3"]:
    """Where the solute's atoms are in the starting structures, in nm."""
    return np.asarray(system.initial).reshape(len(system.initial), -1, 3)[:, system.solute]


def heavy_atoms(system: MolecularSystem) -> Int[np.ndarray, "heavy"]:
    """The atoms of the solute but hydrogens, counted among all atoms."""
    atoms = list(system.topology.atoms)
    return np.array([i for i in system.solute if atoms[i].element.symbol not in ("H", "VS")], int)


def hydrogen_coordinates(system: MolecularSystem) -> tuple[int, ...]:
    """The internal coordinates that place hydrogens."""
    heavy = {int(np.flatnonzero(system.solute == atom)[0]) for atom in heavy_atoms(system)}
    return tuple(index for index, placed in enumerate(system.internal.placed) if placed not in heavy)


def check_rebuilding(system: MolecularSystem, key: str, source: str | None = None) -> None:
    """Refuse a function of positions where internal coordinates do not determine them."""
    internal, given = system.internal, solute_positions(system)
    again = np.asarray(jax.jit(jax.vmap(lambda one: internal.decode(internal.encode(one))))(jnp.asarray(given)))
    for rebuilt, positions in zip(again, given, strict=True):
        if not np.allclose(_distances(rebuilt), _distances(positions), atol=SAME):
            requirement = "be left out where positions cannot be rebuilt from internal coordinates"
            raise InputError(key, requirement, system.internal.reason or "positions that differ", source=source)


def check_rigid_motion(function: Callable, system: MolecularSystem, key: str, source: str | None = None) -> None:
    """Refuse a function of the solute's positions that changes when the molecule is moved or turned."""
    turn, shift = np.array([[0.0, 0.6, 0.8], [1.0, 0.0, 0.0], [0.0, 0.8, -0.6]]), np.array([0.3, -1.1, 0.7])
    given = solute_positions(system)
    values = [np.asarray(jax.jit(jax.vmap(function))(jnp.asarray(one))) for one in (given, given @ turn.T + shift)]
    for before, after in zip(*values, strict=True):
        if not np.allclose(before, after, rtol=MOVED, atol=MOVED):
            requirement = "be a function that does not change when the molecule is moved and turned"
            remedy = "Use distances, angles and torsions, or measure from atoms of the molecule."
            raise InputError(key, requirement, f"{before} and {after}", source=source, remedy=remedy)


def in_solute(atoms: Atoms, system: MolecularSystem, key: str, source: str | None = None) -> tuple[int, ...]:
    """Atoms, counted among all, as counted within the solute; an error for those that are not in it."""
    place = {int(atom): index for index, atom in enumerate(system.solute)}
    for atom in atoms:
        if atom >= system.atoms:
            requirement = f"count atoms from 0 to {system.atoms - 1}, for there are {system.atoms}"
            raise InputError(key, requirement, atom, source=source)
        if atom not in place:
            name = str(system.topology.atom(int(atom)))
            requirement = "name atoms of the solute: water and ions have no internal coordinates"
            raise InputError(key, requirement, f"{atom}, {name}", source=source)
    return tuple(place[int(atom)] for atom in atoms)


def observed_geometry(geometry: Geometry, system: MolecularSystem) -> Callable:
    """A geometry of all atoms as a function of internal coordinates: one of them where it is one."""
    if isinstance(geometry, PositionFunction):
        raise TypeError("a function of positions has no atoms to find among the solute's")
    local = in_solute(geometry.atoms, system, "atoms")
    index = system.internal.index(local) if isinstance(geometry, (Torsion, Distance, Angle)) else None
    return OfPositions(replace(geometry, atoms=local), system) if index is None else Coordinate(index)


def coarse_coordinates(coarse: CoarseVariable, system: AnySystem) -> tuple[int, ...] | None:
    """Which internal coordinate of a molecule each component of ξ is; `None` where any is none of them."""
    geometries = [one for one in coarse.components if isinstance(one, Torsion | Distance | Angle)]
    if not isinstance(system, MolecularSystem) or len(geometries) < coarse.dimension:
        return None
    found = [observed_geometry(one, system) for one in geometries]
    indices = tuple(one.index for one in found if isinstance(one, Coordinate))
    return indices if len(indices) == coarse.dimension else None


def directly(function: Callable, system: MolecularSystem) -> Callable[[Float[Array, "solute 3"]], Array]:
    """A function of internal coordinates as one of the solute's positions; those that are such never leave them."""
    if isinstance(function, OfPositions):
        inner = function.function
        return (lambda positions: inner(positions.reshape(-1))) if function.flat else inner
    if isinstance(function, Stack):
        parts = [directly(part, system) for part in function.maps]
        return lambda positions: jnp.concatenate([part(positions) for part in parts])
    return lambda positions: function(system.internal.encode(positions))


def of_all_atoms(function: Callable, system: MolecularSystem) -> Callable:
    """A function of the solute's positions as one of all positions."""
    return lambda positions: function(positions[system.solute])


def _distances(positions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n n"]:
    return np.linalg.norm(positions[:, None] - positions[None], axis=-1)
