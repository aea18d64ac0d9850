"""Structures of one chirality: equal atoms that are named the other way round change places, all else is refused."""

import numpy as np
from jaxtyping import Float

from micromacro.errors import InputError
from micromacro.molecules.system import MolecularSystem

AT_ONCE = 4096


def alike_in_chirality(
    system: MolecularSystem, positions: Float[np.ndarray, "n atoms 3"], key: str, source: str | None = None
) -> Float[np.ndarray, "n atoms 3"]:
    """The same structures with the chirality of the first of the system at every centre.

    The hydrogens of a methyl group, or any two end atoms of one element at one atom, are the same but for their names:
    where these go round the other way, two of them change places.

    **Arguments:**

    - `key`: where the structures come from, for messages.

    **Raises:** `InputError` that names the centre where a structure is a mirror image, of atoms that differ.
    """
    placed, centres = system.internal.chiral[0][:, :2].T
    parts = []
    for part in np.array_split(positions, max(1, -(-len(positions) // AT_ONCE))):
        part = part.copy()
        mirrored = system.mirrored_torsions(part.reshape(len(part), -1))
        for group in _equal_ends(system):
            wrong = mirrored[:, np.isin(placed, group)].any(axis=1)
            last = system.solute[group[-2:]]
            part[np.ix_(wrong, last)] = part[np.ix_(wrong, last[::-1])]
        still = np.argwhere(system.mirrored_torsions(part.reshape(len(part), -1)))
        if len(still):
            number = sum(map(len, parts)) + int(still[0, 0])
            centre = system.topology.atom(int(system.solute[centres[still[0, 1]]]))
            remedy = "Simulate the mirror image as a molecule of its own."
            requirement = f"hold one chirality at {centre}, that of the first structure"
            raise InputError(key, requirement, f"another in number {number}", source=source, remedy=remedy)
        parts.append(part)
    return np.concatenate(parts)


def _equal_ends(system: MolecularSystem) -> list[list[int]]:
    """Atoms of the solute, counted within it, that hang on the same atom, are of one element and bear no others.

    Each group is in the order of the Z-matrix: where the first turns the others, the last two are told apart by it.
    """
    matrix, atoms = system.internal.matrix, list(system.topology.atoms)
    parents = set(matrix.parents.tolist())
    groups: dict[tuple[int, str], list[int]] = {}
    for atom, parent in zip(matrix.atoms.tolist(), matrix.parents.tolist(), strict=True):
        if atom not in parents and parent >= 0:
            element = atoms[int(system.solute[atom])].element.symbol
            groups.setdefault((parent, element), []).append(atom)
    return [group for group in groups.values() if len(group) > 1]
