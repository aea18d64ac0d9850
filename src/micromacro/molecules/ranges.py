"""Where the torsions of a molecule live, by the chirality of a reference structure."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from micromacro.coordinates.geometry import Torsion
from micromacro.molecules.z_matrix import ZMatrix, bonded, fragments

FLAT = np.radians(150.0)
"""Substituents turned further than this from one another stand about opposite: the centre is as good as planar."""
RIGID_PYRAMID = 20.0
"""A centre of three bonds keeps its chirality if heavier than this, in atomic units: nitrogen inverts, sulfur not."""


def torsion_ranges(
    matrix: ZMatrix,
    bonds: Int[np.ndarray, "m 2"],
    masses: Float[np.ndarray, "n"],
    reference: Float[np.ndarray, "n 3"],
    preferred: tuple[tuple[int, int, int, int], ...] = (),
) -> tuple[Float[np.ndarray, "t"], Float[np.ndarray, "t"], Bool[np.ndarray, "t"]]:
    """Lower ends, upper ends and whether a circle, of each torsion of a Z-matrix.

    Differences at a chiral centre, of atoms that `bonds` hold to it, are an interval, (0, π) or (-π, 0). All others are
    circles: differences from 0 to 2π, for two substituents never coincide; torsions from -π to π, or from 0 to 2π if
    near π in the `reference` and not `preferred`.
    """
    neighbours = bonded(bonds, len(masses))
    ranges = []
    values = np.asarray(jax.vmap(Torsion((0, 1, 2, 3)))(jnp.asarray(reference)[matrix.torsions]))
    for atoms, relative, value in zip(matrix.torsions.tolist(), matrix.differences[3:], values.tolist(), strict=True):
        centre = atoms[1]
        bonded_all = {atoms[0], atoms[2], atoms[3]} <= set(neighbours[centre])
        many = len(neighbours[centre]) > 3 or (len(neighbours[centre]) == 3 and masses[centre] > RIGID_PYRAMID)
        rigid = bonded_all and many
        if relative and rigid and abs(value) < FLAT:
            ranges.append((0.0, np.pi, False) if value > 0 else (-np.pi, 0.0, False))
        elif relative or (abs(value) > np.pi / 2 and not {tuple(atoms), tuple(atoms[::-1])} & set(preferred)):
            ranges.append((0.0, 2 * np.pi, True))
        else:
            ranges.append((-np.pi, np.pi, True))
    low, high, periodic = np.array(ranges, float).reshape(-1, 3).T
    return low, high, periodic.astype(bool)


def joined(bonds: Int[np.ndarray, "m 2"], reference: Float[np.ndarray, "n 3"]) -> tuple[Int[np.ndarray, "k 2"], str]:
    """Bonds that connect all atoms, the shortest added between molecules apart, and why such were needed."""
    parts = fragments(bonds, len(reference))
    reason = f"the bonds leave {len(parts)} molecules apart" if len(parts) > 1 else ""
    whole, rest = parts[0], parts[1:]
    while rest:
        gaps = [np.linalg.norm(reference[whole][:, None] - reference[part][None], axis=2) for part in rest]
        nearest = int(np.argmin([gap.min() for gap in gaps]))
        first, second = np.unravel_index(np.argmin(gaps[nearest]), gaps[nearest].shape)
        part = rest.pop(nearest)
        bonds = np.vstack([bonds, [[whole[first], part[second]]]])
        whole = whole + part
    return bonds, reason
