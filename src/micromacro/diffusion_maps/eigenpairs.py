"""Leading eigenpairs of a walk in symmetric form."""

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh
from scipy.sparse import csr_array
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from micromacro.diffusion_maps.block_modes import block_modes
from micromacro.diffusion_maps.coarse_space import coarse_space
from micromacro.diffusion_maps.shared_rows import SharedRows, shared_rows

DIRECT = 500  # points of a sparse matrix up to which a direct solver is as fast as an iterative one
GUARDS = 3  # vectors beyond those wanted, with which the last of these converge as fast as the others
RESTARTS = 300  # of Lanczos
BEYOND_ONE = 1e-7  # where the inverse is taken, above all eigenvalues
TOLERANCE = 1e-10  # of eigenvalues, relative


def leading_eigenpairs(
    matrix: np.ndarray | csr_array, leading: Float[np.ndarray, "n"], count: int
) -> tuple[Float[np.ndarray, "count"], Float[np.ndarray, "n count"]]:
    """The greatest eigenvalues of a walk in symmetric form, descending, and vectors; the same ones every time.

    `leading` is the positive unit vector of the greatest, which is one. Dense matrices go by LAPACK. Sparse ones by
    block iterations with the walk on some of the points as preconditioner, `micromacro.diffusion_maps.coarse_space`,
    whose number does not grow with the points; where that walk is itself nearly dense, as it is for clouds of many
    dimensions, by ARPACK's restarted Lanczos from a fixed start, which is fast there, for eigenvalues lie apart; and
    where either does not converge, by the inverse.
    """
    size = matrix.shape[0]  # pyright: ignore[reportOptionalSubscript]
    if not isinstance(matrix, csr_array) or size <= max(DIRECT, 3 * count):
        dense = matrix.toarray() if isinstance(matrix, csr_array) else matrix
        values, vectors = eigh(dense, subset_by_index=[size - count, size - 1])
        return values[::-1], vectors[:, ::-1]
    with shared_rows() as rows:
        found = _by_blocks(rows, matrix, leading, count)
        if found is not None:
            return found
        try:
            return _lanczos(rows, matrix, size, count)
        except ArpackNoConvergence:
            return _inverse(matrix, size, count)


def _by_blocks(
    rows: SharedRows, matrix: csr_array, leading: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray] | None:
    space = coarse_space(rows, matrix, leading)
    if space is None or len(space.constant) < 2 * (count + GUARDS):
        return None
    slow = rows.product(matrix, space.slowest(count - 1 + GUARDS))
    start = np.hstack([leading[:, None], slow])
    return block_modes(rows, matrix, lambda residual: space.correction(rows, matrix, residual), start, count)


def _lanczos(rows: SharedRows, matrix: csr_array, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    def product(vector: np.ndarray) -> np.ndarray:
        return rows.product(matrix, vector.ravel())

    shared = LinearOperator(shape=matrix.shape, matvec=product, dtype=np.dtype(float))  # pyright: ignore
    start = np.random.default_rng(0).standard_normal(size)
    values, vectors = eigsh(shared, k=count, which="LA", tol=TOLERANCE, v0=start, maxiter=RESTARTS)  # pyright: ignore
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]


def _inverse(matrix: csr_array, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    start = np.random.default_rng(0).standard_normal(size)
    _, vectors = eigsh(matrix.tocsc(), k=count, sigma=1 + BEYOND_ONE, which="LM", v0=start)
    values = np.sum(vectors * (matrix @ vectors), axis=0)
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]
