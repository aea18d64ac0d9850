"""Which bond, angle and torsion place each atom of a molecule: a Z-matrix along a spanning tree of its bonds.

The tree grows from both ends of one bond, the root bond. About every bond one torsion turns all that hangs on it;
further substituents are measured by how far they are turned from the first one, which hardly moves: its sign is the
chirality of a tetrahedral centre, and it is near π at a planar one.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from micromacro.errors import InputError
from micromacro.molecules.spanning_tree import SpanningTree, grow

LIGHT = 4.5
"""Atoms of one bond and below this mass, in atomic units, are hydrogens, repartitioned masses included."""


@dataclass(frozen=True, eq=False)
class ZMatrix:
    """How each of n atoms is placed relative to atoms before it; -1 where the first three lack an entry.

    **Arguments:**

    - `atoms`: `(n,)` indices of atoms in the order of placement: the two of the root bond first, heavy atoms before
      hydrogens.
    - `parents`, `angle_atoms`, `torsion_atoms`: `(n,)`, the atoms that the bond, the angle and the torsion of each of
      `atoms` refer to.
    - `differences`: `(n,)`, whether the torsion is relative to the first atom placed about the same bond, which is
      then the torsion atom.
    """

    atoms: Int[np.ndarray, "n"]
    parents: Int[np.ndarray, "n"]
    angle_atoms: Int[np.ndarray, "n"]
    torsion_atoms: Int[np.ndarray, "n"]
    differences: Bool[np.ndarray, "n"]

    @property
    def bonds(self) -> Int[np.ndarray, "n_bonds 2"]:
        """Pairs of atoms, one for each atom after the first."""
        return np.column_stack([self.atoms, self.parents])[1:]

    @property
    def angles(self) -> Int[np.ndarray, "n_angles 3"]:
        """Triples of atoms, one for each atom after the second."""
        return np.column_stack([self.atoms, self.parents, self.angle_atoms])[2:]

    @property
    def torsions(self) -> Int[np.ndarray, "n_torsions 4"]:
        """Four atoms each, one for each atom after the third."""
        return np.column_stack([self.atoms, self.parents, self.angle_atoms, self.torsion_atoms])[3:]


def choose_z_matrix(
    bonds: Int[np.ndarray, "m 2"],
    masses: Float[np.ndarray, "n"],
    torsions: tuple[tuple[int, int, int, int], ...] = (),
) -> ZMatrix:
    """The Z-matrix of one molecule that holds most of the preferred torsions, then the one of the shallowest tree.

    **Arguments:**

    - `bonds`: pairs of atoms; together they connect all atoms, rings are cut open.
    - `masses`: in atomic units; they tell hydrogens.
    - `torsions`: preferred ones, four atoms each.

    **Raises:** `InputError` where the bonds do not connect all atoms.
    """
    neighbours = bonded(bonds, len(masses))
    heavy = np.array([len(near) > 1 or mass > LIGHT for near, mass in zip(neighbours, masses, strict=True)])
    if len(masses) < 2:
        none = np.full(len(masses), -1)
        return ZMatrix(np.arange(len(masses)), none, none, none, np.zeros(len(masses), bool))
    trees = [grow(neighbours, heavy, root, torsions) for root in _root_bonds(neighbours, heavy)]
    return _tabulate(max(trees, key=lambda tree: tree.merit), heavy)


def bonded(bonds: Int[np.ndarray, "m 2"], count: int) -> tuple[tuple[int, ...], ...]:
    """The neighbours of each of so many atoms."""
    neighbours = [set() for _ in range(count)]
    for first, second in bonds.tolist():
        neighbours[first].add(second)
        neighbours[second].add(first)
    return tuple(tuple(sorted(near)) for near in neighbours)


def fragments(bonds: Int[np.ndarray, "m 2"], count: int) -> list[list[int]]:
    """The atoms of each connected part."""
    neighbours, unseen, parts = bonded(bonds, count), set(range(count)), []
    while unseen:
        part = [min(unseen)]
        unseen.discard(part[0])
        for atom in part:
            new = [near for near in neighbours[atom] if near in unseen]
            unseen.difference_update(new)
            part.extend(new)
        parts.append(part)
    return parts


def _root_bonds(neighbours: tuple[tuple[int, ...], ...], heavy: Bool[np.ndarray, "n"]) -> list[tuple[int, int]]:
    """Both directions of every bond between heavy atoms, or of every bond where there is none."""
    pairs = [(first, second) for first, near in enumerate(neighbours) for second in near]
    return [pair for pair in pairs if heavy[pair[0]] and heavy[pair[1]]] or [
        pair for pair in pairs if heavy[pair[0]] or not heavy[pair[1]]
    ]


def _tabulate(tree: SpanningTree, heavy: Bool[np.ndarray, "n"]) -> ZMatrix:
    if len(tree.order) < len(heavy):
        missing = sorted(set(range(len(heavy))) - set(tree.order))
        raise InputError("bonds", "connect all atoms", f"none from atom {tree.order[0]} to {missing}")
    start, rest = list(tree.start), [atom for atom in tree.order if atom not in tree.start]
    atoms = start + [atom for atom in rest if heavy[atom]] + [atom for atom in rest if not heavy[atom]]
    rows = np.array([tree.row(atom) for atom in atoms])
    for index in range(min(3, len(atoms))):
        rows[index, index:] = -1
    differences = np.array([tree.first(atom) != atom for atom in atoms])
    differences[: len(start)] = False
    return ZMatrix(np.array(atoms), rows[:, 0], rows[:, 1], rows[:, 2], differences)
