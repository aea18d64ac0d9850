"""Positions of atoms from bonds, angles and torsions along a tree.

Each atom carries a frame: its origin is the atom, x runs along the bond from its parent, y towards the side of the
atom that torsions about this bond refer to. A child stands in the frame of its parent at
r (-cos θ, sin θ cos τ, sin θ sin τ). Frames along a branch compose; composing each with that of its ancestor, then of
the ancestor's ancestor and so on, needs as many rounds as the depth of the tree has binary digits.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from micromacro.molecules.z_matrix import ZMatrix

REVERSED = np.diag([-1.0, 1.0, -1.0])
"""The frame of the first atom, where the second counts as its parent."""


@dataclass(frozen=True, eq=False)
class Placement:
    """Places n atoms; indices count atoms in the order of placement.

    **Arguments:**

    - `inner`: atoms that others hang on, the first two left out; `parents`: for each of them where its parent is found
      among the frames (identity, first, second, *inner); `rounds`: how often frames are composed.
    - `frames`: for each atom after the second, where the frame of its parent is found.
    - `turned_by`: for each atom after the second, the atom whose torsion adds to its own, itself if none does.
    - `original`: for each atom as the molecule counts them, its place in the order of placement.
    """

    inner: Int[np.ndarray, "inner"]
    parents: Int[np.ndarray, "frames"]
    rounds: int
    frames: Int[np.ndarray, "placed"]
    turned_by: Int[np.ndarray, "placed"]
    original: Int[np.ndarray, "n"]

    def __call__(
        self, lengths: Float[Array, "bonds"], angles: Float[Array, "placed"], torsions: Float[Array, "placed"]
    ) -> Float[Array, "n 3"]:
        """Positions in nm: the first atom at the origin, the second on the x-axis, the third in the x-y-plane.

        **Arguments:**

        - `lengths`: of the bonds of all atoms after the first, in nm.
        - `angles`, `torsions`: of all atoms after the second, in radians; the first torsion is zero.
        """
        if len(self.original) < 3:
            line = jnp.concatenate([jnp.zeros(min(1, len(self.original))), lengths])
            return line[:, None] * np.array([1.0, 0.0, 0.0])
        turned = torsions + jnp.where(self.turned_by == np.arange(len(torsions)), 0.0, torsions[self.turned_by])
        cosine, sine = jnp.cos(angles), jnp.sin(angles)
        about, aside = jnp.cos(turned), jnp.sin(turned)
        offset = lengths[1:, None] * jnp.stack([-cosine, sine * about, sine * aside], axis=1)
        rotation, origin = self._compose(lengths[0], offset, (cosine, sine, about, aside))
        placed = origin[self.frames] + jnp.einsum("nij,nj->ni", rotation[self.frames], offset)
        start = jnp.stack([jnp.zeros(3), lengths[0] * np.array([1.0, 0.0, 0.0])])
        return jnp.concatenate([start, placed])[self.original]

    def _compose(self, first_length: Float[Array, ""], offset: Float[Array, "placed 3"], turns: tuple):
        """Frames of (identity, first, second, *inner) in the frame of the molecule: rotations and origins."""
        cosine, sine, about, aside = (values[self.inner] for values in turns)
        zero = jnp.zeros_like(cosine)
        local = [
            [-cosine, -sine, zero],
            [sine * about, -cosine * about, -aside],
            [sine * aside, -cosine * aside, about],
        ]
        own = jnp.stack([jnp.stack(row, axis=-1) for row in local], axis=-2)
        rotation = jnp.concatenate([np.stack([np.eye(3), REVERSED, np.eye(3)]), own])
        second = first_length * np.array([1.0, 0.0, 0.0])
        origin = jnp.concatenate([jnp.zeros((2, 3)), second[None], offset[self.inner]])
        ancestor = self.parents
        for _ in range(self.rounds):
            origin = origin[ancestor] + jnp.einsum("nij,nj->ni", rotation[ancestor], origin)
            rotation = rotation[ancestor] @ rotation
            ancestor = ancestor[ancestor]
        return rotation, origin


def placement(matrix: ZMatrix) -> Placement:
    """How to place the atoms of a Z-matrix."""
    place = np.argsort(matrix.atoms)
    parents = np.where(matrix.parents < 0, -1, place[matrix.parents])
    inner = np.array([atom for atom in range(2, len(place)) if atom in parents[2:]], int)
    frame = {0: 1, 1: 2} | {int(atom): index + 3 for index, atom in enumerate(inner)}
    ancestors = np.array([0, 0, 0] + [frame[int(parents[atom])] for atom in inner])
    frames = np.array([frame[int(parent)] for parent in parents[2:]], int)
    firsts = np.where(matrix.differences, place[matrix.torsion_atoms], np.arange(len(place)))
    return Placement(inner - 2, ancestors, _rounds(ancestors), frames, firsts[2:] - 2, place)


def _rounds(ancestors: Int[np.ndarray, "frames"]) -> int:
    rounds = 0
    while ancestors.any():
        ancestors, rounds = ancestors[ancestors], rounds + 1
    return rounds
