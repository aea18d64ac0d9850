"""Bonds and angles of a Z-matrix that constraints on distances fix."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from micromacro.molecules.z_matrix import ZMatrix


@dataclass(frozen=True, eq=False)
class FixedParts:
    r"""Completes free bonds and angles by fixed ones.

    A bond with a constraint has its length. An angle whose two outer atoms are held at the distance s follows from the
    bonds r and t beside it, cos θ = (r² + t² - s²) / 2rt; as a coordinate it makes way for s, dθ = s ds / (r t sin θ).

    **Arguments:**

    - `free_bonds`, `free_angles`: indices among the bonds and the angles of the Z-matrix.
    - `lengths`: of each bond in nm, zero where free.
    - `closed_angles`: indices of the angles that follow from distances; `across`: those distances in nm; `beside`: the
      two bonds of each.
    """

    free_bonds: Int[np.ndarray, "free_bonds"]
    free_angles: Int[np.ndarray, "free_angles"]
    lengths: Float[np.ndarray, "bonds"]
    closed_angles: Int[np.ndarray, "closed"]
    across: Float[np.ndarray, "closed"]
    beside: Int[np.ndarray, "closed 2"]

    @property
    def free_count(self) -> int:
        """The number of free bonds and angles."""
        return len(self.free_bonds) + len(self.free_angles)

    def complete(
        self, bonds: Float[Array, "free_bonds"], angles: Float[Array, "free_angles"]
    ) -> tuple[Float[Array, "bonds"], Float[Array, "angles"]]:
        """All bonds in nm and all angles in radians; not finite where bonds cannot meet."""
        lengths = _spread(bonds, self.free_bonds, self.lengths)
        first, second = lengths[self.beside[:, 0]], lengths[self.beside[:, 1]]
        closed = jnp.arccos((first**2 + second**2 - self.across**2) / (2 * first * second))
        order = np.argsort(np.concatenate([self.free_angles, self.closed_angles]))
        return lengths, jnp.concatenate([angles, closed])[order]

    def log_slope(self, lengths: Float[Array, "bonds"], angles: Float[Array, "angles"]) -> Float[Array, ""]:
        """The logarithm of dθ/ds of all angles that follow from distances."""
        first, second = lengths[self.beside[:, 0]], lengths[self.beside[:, 1]]
        return jnp.sum(jnp.log(self.across / (first * second * jnp.sin(angles[self.closed_angles]))))


def fixed_parts(
    matrix: ZMatrix, constraints: Int[np.ndarray, "c 2"], lengths: Float[np.ndarray, "c"]
) -> tuple[FixedParts, str]:
    """What constraints fix, and why some of them fix neither a bond nor an angle; empty if all do."""
    given = {frozenset(pair): length for pair, length in zip(constraints.tolist(), lengths.tolist(), strict=True)}
    bonds = [frozenset(pair) for pair in matrix.bonds.tolist()]
    ends = [frozenset((first, last)) for first, _, last in matrix.angles.tolist()]
    fixed = np.array([given.get(pair, 0.0) for pair in bonds], float)
    closed = np.array([index for index, pair in enumerate(ends) if pair in given], int)
    where = {pair: index for index, pair in enumerate(bonds)}
    angles = matrix.angles[closed].tolist()
    beside = [(where[frozenset((a, b))], where[frozenset((b, c))]) for a, b, c in angles]
    parts = FixedParts(
        np.flatnonzero(fixed == 0),
        np.setdiff1d(np.arange(len(ends)), closed),
        fixed,
        closed,
        np.array([given[ends[index]] for index in closed], float),
        np.array(beside, int).reshape(-1, 2),
    )
    left = [sorted(pair) for pair in given if pair not in where and pair not in ends]
    reason = f"constraints between atoms {left} fix neither a bond nor an angle of the Z-matrix" if left else ""
    return parts, reason


def _spread(values: Float[Array, "free"], free: Int[np.ndarray, "free"], fixed: Float[np.ndarray, "all"]):
    """Values at their indices, fixed ones elsewhere; a gather, as updates of slices would be slow scatters."""
    source = np.full(len(fixed), len(free))
    source[free] = np.arange(len(free))
    return jnp.where(source < len(free), jnp.concatenate([values, jnp.zeros(1)])[source], fixed)
