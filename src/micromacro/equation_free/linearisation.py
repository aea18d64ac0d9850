"""The derivative of a noisy function at a point: applied to vectors, solved, and its leading eigenvalues."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Complex, Float
from scipy.sparse.linalg import LinearOperator, eigs, gmres

from micromacro.equation_free.estimate import Estimate
from micromacro.errors import PhysicsError

DENSE_DIMENSION = 16
"""Up to this dimension the matrix is formed, a product for each column; beyond, Krylov methods make do with fewer."""
SOLVED = 1e-8


class Derivative(NamedTuple):
    """The derivative along a direction, with its error: of the residual `(m,)`, and of the offset of its argument."""

    residual: Estimate
    offset: Estimate


Product: TypeAlias = Callable[[np.ndarray], Derivative]


@runtime_checkable
class Linearisation(Protocol):
    """What the derivative J `(m, m)` of the residual is asked for."""

    def solve(self, sides: Float[np.ndarray, "k m"]) -> Float[np.ndarray, "k m"]:
        """Solutions of J x = b for k right-hand sides."""
        ...

    def eigenvalues(self, count: int) -> tuple[Complex[np.ndarray, "k"], Float[np.ndarray, "k"]]:
        """Those of J with respect to the offset argument, of largest real part; the errors of the real parts or NaN."""
        ...


@dataclass(frozen=True)
class DenseLinearisation:
    """The matrices themselves: J and, with respect to the argument with its offset, J (1 + O)⁻¹.

    **Arguments:**

    - `matrix`: J `(m, m)`.
    - `shifted`: J (1 + O)⁻¹ `(m, m)`, and its replicates `(groups, m, m)`.
    """

    matrix: Float[np.ndarray, "m m"]
    shifted: Float[np.ndarray, "m m"]
    shifted_replicates: Float[np.ndarray, "groups m m"]

    def solve(self, sides: Float[np.ndarray, "k m"]) -> Float[np.ndarray, "k m"]:
        """Solutions by elimination. **Raises:** `PhysicsError` for a singular matrix."""
        try:
            return np.linalg.solve(self.matrix, sides.T).T
        except np.linalg.LinAlgError as error:
            raise PhysicsError(
                "the linearised stepper is singular", where="Newton", remedy="Follow the branch round its fold instead."
            ) from error

    def eigenvalues(self, count: int) -> tuple[Complex[np.ndarray, "k"], Float[np.ndarray, "k"]]:
        """Of all, by the QR algorithm."""
        return leading(self.shifted, self.shifted_replicates, count)


def leading(
    matrix: Float[np.ndarray, "m m"], replicates: Float[np.ndarray, "groups m m"], count: int
) -> tuple[Complex[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    r"""Eigenvalues of largest real part, with errors to first order, $δλ = w^H δA\,v / w^H v$."""
    values, right = np.linalg.eig(matrix)
    values, left = values.astype(complex), np.linalg.inv(right)
    changes = np.real(np.einsum("ij,gjk,ki->gi", left, replicates - matrix, right))
    order = np.argsort(-np.real(values))[:count]
    return values[order], Estimate(np.real(values), np.real(values) + changes).stderr[order]


@dataclass(frozen=True)
class KrylovLinearisation:
    """The derivative as a product alone."""

    product: Product
    dimension: int

    def solve(self, sides: Float[np.ndarray, "k m"]) -> Float[np.ndarray, "k m"]:
        """Solutions by GMRES, one after the other."""
        return np.stack([krylov_solve(lambda v: self.product(v).residual.value, side) for side in sides])

    def eigenvalues(self, count: int) -> tuple[Complex[np.ndarray, "k"], Float[np.ndarray, "k"]]:
        """By Arnoldi's method, without errors."""

        def shifted(v: np.ndarray) -> np.ndarray:
            argument = krylov_solve(lambda w: w + self.product(w).offset.value, v)
            return self.product(argument).residual.value

        start = np.ones(self.dimension)  # ARPACK would draw one at random
        values = np.asarray(eigs(_operator(shifted, self.dimension), count, which="LR", v0=start)[0])
        return values[np.argsort(-np.real(values))], np.full(count, np.nan)


def linearise(product: Product, dimension: int) -> DenseLinearisation | KrylovLinearisation:
    """The derivative in whichever form its dimension allows."""
    if dimension > DENSE_DIMENSION:
        return KrylovLinearisation(product, dimension)
    columns = [product(column) for column in np.eye(dimension)]
    matrix, replicates = _matrix([column.residual for column in columns])
    offset, offsets = (np.eye(dimension) + part for part in _matrix([column.offset for column in columns]))
    return DenseLinearisation(matrix, matrix @ np.linalg.inv(offset), replicates @ np.linalg.inv(offsets))


def _matrix(columns: list[Estimate]) -> tuple[Float[np.ndarray, "m m"], Float[np.ndarray, "groups m m"]]:
    return (
        np.stack([column.value for column in columns], axis=-1),
        np.stack([column.replicates for column in columns], axis=-1),
    )


def krylov_solve(product: Callable[[np.ndarray], np.ndarray], side: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """A x = b by GMRES, from products alone. Source: Saad and Schultz, SIAM J. Sci. Stat. Comput. 7, 856 (1986)."""
    dimension = len(side)
    solution, _ = gmres(_operator(product, dimension), side, rtol=SOLVED, restart=dimension, maxiter=1)
    return solution


def _operator(product: Callable[[np.ndarray], np.ndarray], dimension: int) -> LinearOperator:
    return LinearOperator((dimension, dimension), matvec=lambda v: product(np.ravel(v)), dtype=float)  # pyright: ignore
