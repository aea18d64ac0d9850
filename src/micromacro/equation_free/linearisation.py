"""The derivative of a noisy function at a point: applied to vectors, solved, and its leading eigenvalues."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Complex, Float
from scipy.sparse.linalg import LinearOperator, eigs, gmres

from micromacro.equation_free.estimate import Estimate
from micromacro.errors import PhysicsError

DENSE_DIMENSION = 16
"""Up to this dimension the matrix is formed, a product for each column; beyond, Krylov methods make do with fewer."""
SOLVED = 1e-8

Product = Callable[[np.ndarray], Estimate]
"""The derivative applied to a direction `(m,)`, with its error."""


@runtime_checkable
class Linearisation(Protocol):
    """What the derivative `(m, m)` is asked for."""

    def solve(self, sides: Float[np.ndarray, "k m"]) -> Float[np.ndarray, "k m"]:
        """Solutions of A x = b for k right-hand sides."""
        ...

    def eigenvalues(self, count: int) -> tuple[Complex[np.ndarray, "k"], Float[np.ndarray, "k"]]:
        """The `count` eigenvalues of largest real part, and the standard errors of their real parts or NaN."""
        ...


@dataclass(frozen=True)
class DenseLinearisation:
    """The matrix itself, `(m, m)`, and its replicates `(groups, m, m)`."""

    matrix: Float[np.ndarray, "m m"]
    replicates: Float[np.ndarray, "groups m m"]

    def solve(self, sides: Float[np.ndarray, "k m"]) -> Float[np.ndarray, "k m"]:
        """Solutions by elimination. **Raises:** `PhysicsError` for a singular matrix."""
        try:
            return np.linalg.solve(self.matrix, sides.T).T
        except np.linalg.LinAlgError as error:
            raise PhysicsError(
                "the linearised stepper is singular", where="Newton", remedy="Follow the branch round its fold instead."
            ) from error

    def eigenvalues(self, count: int) -> tuple[Complex[np.ndarray, "k"], Float[np.ndarray, "k"]]:
        r"""Of all; errors to first order, $δλ = w^H δA\,v / w^H v$ with left and right eigenvectors."""
        values, right = np.linalg.eig(self.matrix)
        values = values.astype(complex)
        left = np.linalg.inv(right)
        changes = np.einsum("ij,gjk,ki->gi", left, self.replicates - self.matrix, right).real
        order = np.argsort(-np.real(values))[:count]
        return values[order], Estimate(np.real(values), np.real(values) + changes).stderr[order]


@dataclass(frozen=True)
class KrylovLinearisation:
    """The derivative as a product alone."""

    product: Product
    dimension: int

    def solve(self, sides: Float[np.ndarray, "k m"]) -> Float[np.ndarray, "k m"]:
        """Solutions by GMRES, one after the other."""
        return np.stack([krylov_solve(self.product, side) for side in sides])

    def eigenvalues(self, count: int) -> tuple[Complex[np.ndarray, "k"], Float[np.ndarray, "k"]]:
        """By Arnoldi's method, without errors."""
        start = np.ones(self.dimension)  # ARPACK would draw one at random
        values = np.asarray(eigs(_operator(self.product, self.dimension), count, which="LR", v0=start)[0])
        return values[np.argsort(-values.real)], np.full(count, np.nan)


def linearise(product: Product, dimension: int) -> DenseLinearisation | KrylovLinearisation:
    """The derivative in whichever form its dimension allows."""
    if dimension > DENSE_DIMENSION:
        return KrylovLinearisation(product, dimension)
    columns = [product(column) for column in np.eye(dimension)]
    matrix = np.stack([column.value for column in columns], axis=-1)
    return DenseLinearisation(matrix, np.stack([column.replicates for column in columns], axis=-1))


def krylov_solve(product: Product, side: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """A x = b by GMRES, from products alone. Source: Saad and Schultz, SIAM J. Sci. Stat. Comput. 7, 856 (1986)."""
    dimension = len(side)
    solution, _ = gmres(_operator(product, dimension), side, rtol=SOLVED, restart=dimension, maxiter=1)
    return solution


def _operator(product: Product, dimension: int) -> LinearOperator:
    return LinearOperator((dimension, dimension), matvec=lambda v: product(np.ravel(v)).value, dtype=float)  # pyright: ignore
