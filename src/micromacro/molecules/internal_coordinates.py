r"""Internal coordinates of one molecule: bonds, angles and torsions, without rigid motion and without mirror images.

Volume in Cartesian coordinates is, up to rigid motion, $J = \prod r_i^2 \prod \sin θ_i$ over the bonds and angles of
the Z-matrix. Bonds of fixed length are left out of the coordinates; J √det Z is then the density of the measure that
constrained dynamics samples, see `constraint_metric`.
"""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from micromacro.coordinates.geometry import Angle, Distance, Torsion
from micromacro.coordinates.space import Space
from micromacro.errors import InputError
from micromacro.molecules.constraint_metric import ConstraintMetric, constraint_metric
from micromacro.molecules.fixed import FixedParts, fixed_parts
from micromacro.molecules.placement import Placement, placement
from micromacro.molecules.ranges import joined, torsion_ranges
from micromacro.molecules.z_matrix import ZMatrix, choose_z_matrix


@dataclass(frozen=True, eq=False)
class InternalCoordinates:
    """A bijection between internal coordinates u `(Y,)` and the shape of a molecule of n atoms.

    u holds free bonds in nm, then free angles, then torsions in radians, each in the order of the Z-matrix.

    **Arguments:**

    - `matrix`: what each atom is placed by.
    - `place`: positions from the values of all bonds, angles and torsions.
    - `fixed`: lengths and angles that constraints fix.
    - `metric`: of the constraints.
    - `space`: where u lives. Torsions are circles, but those that tell the chirality of a centre intervals.
    - `reason`: why positions or their density cannot be rebuilt from u; empty where they can.
    """

    matrix: ZMatrix
    place: Placement
    fixed: FixedParts
    metric: ConstraintMetric
    space: Space
    reason: str

    @property
    def dimension(self) -> int:
        """The number of coordinates."""
        return self.space.dimension

    @property
    def names(self) -> tuple[str, ...]:
        """What each coordinate is, with the atoms counted from 0, such as `torsion 4-6-8-14`."""
        return tuple(f"{kind} {'-'.join(map(str, atoms))}" for kind, atoms in self._described())

    @property
    def placed(self) -> tuple[int, ...]:
        """The atom that each coordinate places."""
        return tuple(atoms[0] for _, atoms in self._described())

    @cached_property
    def chiral(self) -> tuple[Int[np.ndarray, "k 4"], Int[np.ndarray, "k"]]:
        """The atoms of the torsions that tell the chirality of a centre, and the sign that each must have."""
        low = np.array(self.space.lower[self.fixed.free_count :])
        told = ~np.array(self.space.periodic[self.fixed.free_count :], bool)
        return self.matrix.torsions[told], np.where(low[told] < 0, -1, 1)

    def index(self, atoms: tuple[int, ...]) -> int | None:
        """Which coordinate is the bond, angle or torsion of these atoms, from either end; `None` if there is none."""
        for index, (_, own) in enumerate(self._described()):
            if own in (tuple(atoms), tuple(atoms)[::-1]):
                return index
        return None

    def encode(self, positions: Float[Array, "n 3"]) -> Float[Array, "Y"]:
        """The coordinates of positions in nm; torsions within their range or, of the wrong chirality, outside."""
        bonds, angles = self.matrix.bonds[self.fixed.free_bonds], self.matrix.angles[self.fixed.free_angles]
        parts = [
            jax.vmap(measure)(positions[atoms])
            for measure, atoms in ((_BOND, bonds), (_ANGLE, angles), (_TORSION, self.matrix.torsions))
            if len(atoms)
        ]
        return self.space.wrap(jnp.concatenate([jnp.zeros(0), *parts]))

    def decode(self, coordinates: Float[Array, "Y"]) -> Float[Array, "n 3"]:
        """Positions in nm: of the Z-matrix's first three atoms, one at the origin, one on x, one in the x-y plane."""
        lengths, angles = self._lengths_and_angles(coordinates)
        torsions = jnp.concatenate([jnp.zeros(min(1, len(angles))), coordinates[self.fixed.free_count :]])
        return self.place(lengths, angles, torsions)

    def log_jacobian(self, coordinates: Float[Array, "Y"]) -> Float[Array, ""]:
        """The logarithm of J √det Z, up to a constant; not a number for bonds and angles that no shape has."""
        lengths, angles = self._lengths_and_angles(coordinates)
        volume = 2 * jnp.sum(jnp.log(lengths)) + jnp.sum(jnp.log(jnp.sin(angles)))
        volume = volume + self.fixed.log_slope(lengths, angles)
        if not len(self.metric.pairs):
            return volume
        return volume + self.metric.log_root_determinant(self.decode(coordinates))

    def _lengths_and_angles(self, coordinates: Float[Array, "Y"]):
        count = len(self.fixed.free_bonds)
        return self.fixed.complete(coordinates[:count], coordinates[count : self.fixed.free_count])

    def _described(self) -> list[tuple[str, tuple[int, ...]]]:
        differences = self.matrix.differences[3:]
        return (
            [("bond", tuple(atoms)) for atoms in self.matrix.bonds[self.fixed.free_bonds].tolist()]
            + [("angle", tuple(atoms)) for atoms in self.matrix.angles[self.fixed.free_angles].tolist()]
            + [
                ("difference" if relative else "torsion", tuple(atoms))
                for relative, atoms in zip(differences, self.matrix.torsions.tolist(), strict=True)
            ]
        )


_BOND, _ANGLE, _TORSION = Distance((0, 1)), Angle((0, 1, 2)), Torsion((0, 1, 2, 3))


def build_internal_coordinates(
    bonds: Int[np.ndarray, "m 2"],
    masses: Float[np.ndarray, "n"],
    reference: Float[np.ndarray, "n 3"],
    constraints: Int[np.ndarray, "c 2"],
    lengths: Float[np.ndarray, "c"],
    torsions: tuple[tuple[int, int, int, int], ...] = (),
) -> InternalCoordinates:
    """The internal coordinates of a molecule.

    **Arguments:**

    - `bonds`: pairs of atoms, counted from 0. Molecules apart are joined where they are nearest, with a `reason`.
    - `masses`: in atomic units.
    - `reference`: positions in nm, the molecule whole; their chirality is kept.
    - `constraints`, `lengths`: pairs of atoms at fixed distances in nm.
    - `torsions`: four atoms each along three bonds, such as coarse variables, to be coordinates if they can all be;
      `index` tells.

    **Raises:** `InputError` for atoms that are not there and lengths that are not positive.
    """
    _check_atoms(len(masses), {"bonds": bonds, "constraints": constraints, "torsions": np.array(torsions, int)})
    if not (lengths > 0).all():
        raise InputError("lengths", "be positive", lengths.min())
    whole, apart = joined(bonds, reference)
    matrix = choose_z_matrix(whole, masses, torsions)
    fixed, unsupported = fixed_parts(matrix, constraints, lengths)
    low, high, periodic = torsion_ranges(matrix, bonds, masses, reference, torsions)
    bonds_count, angles_count = len(fixed.free_bonds), len(fixed.free_angles)
    space = Space.of(
        np.concatenate([np.zeros(fixed.free_count), low]),
        np.concatenate([np.full(bonds_count, np.inf), np.full(angles_count, np.pi), high]),
        np.concatenate([np.zeros(fixed.free_count, bool), periodic]),
    )
    metric = constraint_metric(constraints, masses)
    return InternalCoordinates(matrix, placement(matrix), fixed, metric, space, apart or unsupported)


def _check_atoms(count: int, named: dict[str, Int[np.ndarray, "..."]]):
    for name, atoms in named.items():
        if atoms.size and not 0 <= atoms.min() <= atoms.max() < count:
            raise InputError(name, f"name atoms from 0 to {count - 1}", atoms.tolist())
