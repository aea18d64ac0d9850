"""Geometric quantities of a molecule as functions of its positions, each defined once.

Every class is callable: positions `(atoms, 3)` in nm to a scalar, written with JAX. Lengths are in nm, angles in
radians. Molecules must be whole: no minimum image is taken. All are immutable and can be hashed: sequences and arrays
they are made from are kept as tuples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from micromacro.errors import InputError

Atoms: TypeAlias = Sequence[int] | Int[np.ndarray, "n"]
"""Indices counted from 0; kept as a tuple."""
FULL_TURN = 2 * float(np.pi)


@dataclass(frozen=True)
class Torsion:
    """The dihedral angle of four atoms in [-π, π), of IUPAC sign: zero for cis, positive for a clockwise turn.

    **Raises:** `InputError` where `atoms` are not four different indices, counted from 0.
    """

    atoms: Atoms
    period: ClassVar[float] = FULL_TURN

    def __post_init__(self):
        object.__setattr__(self, "atoms", _different(self.atoms, 4))

    def __call__(self, positions: Float[Array, "atoms 3"]) -> Float[Array, ""]:
        """The angle in radians."""
        a, b, c, d = positions[np.asarray(self.atoms)]
        axis = c - b
        first, second = jnp.cross(b - a, axis), jnp.cross(axis, d - c)
        angle = jnp.arctan2(jnp.linalg.norm(axis) * ((b - a) @ second), first @ second)
        return jnp.where(angle >= jnp.pi, angle - FULL_TURN, angle)


@dataclass(frozen=True)
class Distance:
    """The distance of two atoms in nm.

    **Raises:** `InputError` where `atoms` are not two different indices, counted from 0.
    """

    atoms: Atoms
    period: ClassVar[float] = float("inf")

    def __post_init__(self):
        object.__setattr__(self, "atoms", _different(self.atoms, 2))

    def __call__(self, positions: Float[Array, "atoms 3"]) -> Float[Array, ""]:
        """The distance in nm."""
        first, second = self.atoms
        return jnp.linalg.norm(positions[second] - positions[first])


@dataclass(frozen=True)
class Angle:
    """The angle at the second of three atoms, in [0, π].

    **Raises:** `InputError` where `atoms` are not three different indices, counted from 0.
    """

    atoms: Atoms
    period: ClassVar[float] = float("inf")

    def __post_init__(self):
        object.__setattr__(self, "atoms", _different(self.atoms, 3))

    def __call__(self, positions: Float[Array, "atoms 3"]) -> Float[Array, ""]:
        """The angle in radians."""
        a, b, c = positions[np.asarray(self.atoms)]
        first, second = a - b, c - b
        return jnp.arctan2(_length(jnp.cross(first, second)), first @ second)


@dataclass(frozen=True)
class RadiusOfGyration:
    r"""$\sqrt{\sum_i m_i |x_i - \bar x|^2 / \sum_i m_i}$ in nm about the weighted mean $\bar x$.

    **Arguments:**

    - `atoms`: indices, counted from 0, all different.
    - `masses`: one positive weight for each; equal weights where left out.
    """

    atoms: Atoms
    masses: Sequence[float] | Float[np.ndarray, "n"] = ()
    period: ClassVar[float] = float("inf")

    def __post_init__(self):
        atoms = _different(self.atoms)
        masses = tuple(float(mass) for mass in np.ravel(self.masses)) or (1.0,) * len(atoms)
        if len(masses) != len(atoms) or min(masses) <= 0:
            raise InputError("masses", f"be {len(atoms)} positive numbers, one for each atom", masses)
        object.__setattr__(self, "atoms", atoms)
        object.__setattr__(self, "masses", masses)

    def __call__(self, positions: Float[Array, "atoms 3"]) -> Float[Array, ""]:
        """The radius in nm."""
        weights = np.asarray(self.masses) / np.sum(self.masses)
        chosen = positions[np.asarray(self.atoms)]
        return _length(jnp.sqrt(weights)[:, None] * (chosen - weights @ chosen))


@dataclass(frozen=True)
class RootMeanSquareDeviation:
    """The smallest root-mean-square distance to a reference over all rigid motions, in nm; reflections are none.

    The largest eigenvalue of the quaternion matrix gives it; two Newton steps on its characteristic polynomial carry
    first and second derivatives through degenerate smaller eigenvalues.

    **Arguments:**

    - `atoms`: indices, counted from 0, all different; three at least.
    - `reference`: where those atoms are in the reference, `(len(atoms), 3)` in nm.

    Source: Theobald, Acta Cryst. A 61, 478 (2005).
    """

    atoms: Atoms
    reference: Sequence[Sequence[float]] | Float[np.ndarray, "n 3"]
    period: ClassVar[float] = float("inf")

    def __post_init__(self):
        atoms = _different(self.atoms)
        if len(atoms) < 3:
            raise InputError("atoms", "name three different atoms at least", self.atoms)
        reference = np.asarray(self.reference, float)
        if reference.shape != (len(atoms), 3):
            raise InputError("reference", f"have the shape {(len(atoms), 3)}", reference.shape)
        object.__setattr__(self, "atoms", atoms)
        object.__setattr__(self, "reference", tuple(tuple(row) for row in reference.tolist()))

    def __call__(self, positions: Float[Array, "atoms 3"]) -> Float[Array, ""]:
        """The deviation in nm."""
        reference = np.asarray(self.reference)
        reference = reference - reference.mean(axis=0)
        chosen = positions[np.asarray(self.atoms)]
        chosen = chosen - jnp.mean(chosen, axis=0)
        matrix = _quaternion_matrix(chosen.T @ reference)
        squares = jnp.sum(chosen**2) + np.sum(reference**2)
        mean_square = jnp.maximum((squares - 2 * _largest_eigenvalue(matrix)) / len(self.atoms), 0.0)
        return _square_root(mean_square)


@dataclass(frozen=True)
class PositionFunction:
    """Any JAX function of all positions.

    **Arguments:**

    - `function`: positions `(atoms, 3)` in nm to a scalar, written with `jax.numpy`, twice differentiable.
    - `period`: of its value, infinite where it has none.
    """

    function: Callable[[Float[Array, "atoms 3"]], Float[Array, ""]]
    period: float = float("inf")

    def __call__(self, positions: Float[Array, "atoms 3"]) -> Float[Array, ""]:
        """The value of the function."""
        return jnp.reshape(self.function(positions), ())


Geometry: TypeAlias = Torsion | Distance | Angle | RadiusOfGyration | RootMeanSquareDeviation | PositionFunction


def stacked(components: tuple[Geometry, ...], positions: Float[Array, "atoms 3"]) -> Float[Array, "d"]:
    """The values of several components at the same positions."""
    return jnp.stack([component(positions) for component in components])


def _different(atoms, count: int | None = None) -> tuple[int, ...]:
    given = np.ravel(np.asarray(atoms))
    wanted = f"{count} different atoms" if count else "different atoms, one at least"
    integer = np.issubdtype(given.dtype, np.integer)
    if not integer or len(given) != (count or len(given)) or not len(given) or len(np.unique(given)) < len(given):
        raise InputError("atoms", f"name {wanted}, counted from 0", atoms)
    if given.min() < 0:
        raise InputError("atoms", "be counted from 0", atoms)
    return tuple(int(atom) for atom in given)


def _square_root(square: Float[Array, ""]) -> Float[Array, ""]:
    """The square root, with a derivative of zero instead of infinity at zero."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def _length(vectors: Float[Array, "..."]) -> Float[Array, ""]:
    return _square_root(jnp.sum(vectors**2))


def _quaternion_matrix(s: Float[Array, "3 3"]) -> Float[Array, "4 4"]:
    """The symmetric matrix whose largest eigenvalue is the overlap of two structures after the best rotation."""
    trace = jnp.trace(s)
    skew = jnp.stack([s[1, 2] - s[2, 1], s[2, 0] - s[0, 2], s[0, 1] - s[1, 0]])
    block = s + s.T - trace * jnp.eye(3)
    return jnp.block([[trace[None, None], skew[None, :]], [skew[:, None], block]])


def _largest_eigenvalue(matrix: Float[Array, "4 4"]) -> Float[Array, ""]:
    """Of a symmetric matrix of trace zero; its characteristic polynomial comes from Newton's identities."""
    square = matrix @ matrix
    quadratic = -0.5 * jnp.trace(square)
    cubic = -jnp.sum(square * matrix) / 3
    constant = 0.5 * quadratic**2 - 0.25 * jnp.sum(square * square)
    value = jax.lax.stop_gradient(jnp.linalg.eigvalsh(jax.lax.stop_gradient(matrix))[-1])
    for _ in range(2):
        polynomial = ((value**2 + quadratic) * value + cubic) * value + constant
        slope = (4 * value**2 + 2 * quadratic) * value + cubic
        value = value - polynomial / slope
    return value
