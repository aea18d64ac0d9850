"""Structures of one chirality: equal atoms that are named the other way round change places, all else is refused."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

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
    positions = positions.copy()
    mirrored, placed = _mirrored(system, positions), np.array(system.internal.placed, int)
    for group in _equal_ends(system):
        wrong = mirrored[:, np.isin(placed, group)].any(axis=1)
        last = system.solute[group[-2:]]
        positions[np.ix_(wrong, last)] = positions[np.ix_(wrong, last[::-1])]
    still = _mirrored(system, positions)
    if still.any():
        frame, coordinate = (int(index) for index in np.argwhere(still)[0])
        parents = dict(zip(system.internal.matrix.atoms.tolist(), system.internal.matrix.parents.tolist(), strict=True))
        centre = system.topology.atom(int(system.solute[parents[int(placed[coordinate])]]))
        remedy = "Simulate the mirror image as a molecule of its own."
        requirement = f"hold one chirality at {centre}, that of the first structure"
        raise InputError(key, requirement, f"another in number {frame}", source=source, remedy=remedy)
    return positions


def _mirrored(system: MolecularSystem, positions: Float[np.ndarray, "n atoms 3"]) -> Bool[np.ndarray, "n Y"]:
    """Which coordinates of each structure lie outside their range."""
    space, states = system.internal.space, jnp.asarray(positions.reshape(len(positions), -1))
    observed = np.asarray(jax.jit(lambda many: jax.lax.map(system.observe, many, batch_size=AT_ONCE))(states))
    return (observed < np.asarray(space.lower)) | (observed > np.asarray(space.upper))


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
