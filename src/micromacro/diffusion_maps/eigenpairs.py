"""Leading eigenpairs of a walk in symmetric form."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from joblib import cpu_count
from scipy.linalg import eigh
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh

DIRECT = 500  # points up to which a direct solver is as fast as an iterative one
TOLERANCE = 1e-10  # of eigenvalues, relative: vectors of eigenvalues 1e-5 apart are then right to 1e-5
WORKERS = 4  # more threads than these wait for memory
WORTH_SHARING = 2**18  # entries of a matrix below which handing rows to a thread takes longer than the product


def leading_eigenpairs(matrix: np.ndarray | csr_array, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The greatest eigenvalues `(count,)` of a symmetric matrix, descending, and vectors; the same ones every time.

    Restarted Lanczos by ARPACK from a fixed start. Filters by Chebyshev polynomials in front of it and larger bases
    were no faster on maps of twenty thousand points. Rows of a sparse matrix are shared among threads, which scipy by
    itself does not; each row is summed by one thread, so results do not depend on their number.
    """
    size = matrix.shape[0]  # pyright: ignore[reportOptionalSubscript]
    if size <= max(DIRECT, 3 * count):
        dense = matrix.toarray() if isinstance(matrix, csr_array) else matrix
        values, vectors = eigh(dense, subset_by_index=[size - count, size - 1])
        return values[::-1], vectors[:, ::-1]
    workers = min(WORKERS, cpu_count())
    if workers == 1 or not isinstance(matrix, csr_array) or matrix.nnz < WORTH_SHARING:
        return _lanczos(matrix, size, count)
    bounds = np.searchsorted(matrix.indptr, np.linspace(0, matrix.nnz, workers + 1)[1:-1])
    parts = [matrix[start:stop] for start, stop in zip([0, *bounds], [*bounds, size], strict=True)]
    with ThreadPoolExecutor(workers) as pool:

        def product(vector: np.ndarray) -> np.ndarray:
            return np.concatenate(list(pool.map(lambda part: part @ vector.ravel(), parts)))

        shared = LinearOperator(shape=(size, size), matvec=product, dtype=np.dtype(float))  # pyright: ignore
        return _lanczos(shared, size, count)


def _lanczos(matrix: np.ndarray | csr_array | LinearOperator, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    start, tolerance = np.random.default_rng(0).standard_normal(size), TOLERANCE
    values, vectors = eigsh(matrix, k=count, which="LA", tol=tolerance, v0=start)  # pyright: ignore
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]
