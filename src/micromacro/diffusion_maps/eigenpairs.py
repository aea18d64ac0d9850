"""Leading eigenpairs of a walk in symmetric form."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from joblib import cpu_count
from scipy.linalg import eigh
from scipy.sparse import csr_array
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

DIRECT = 500  # points of a sparse matrix up to which a direct solver is as fast as an iterative one
RESTARTS = 300  # of Lanczos; twenty thousand points of a surface take about fifty
BEYOND_ONE = 1e-7  # where the inverse is taken, above all eigenvalues
TOLERANCE = 1e-10  # of eigenvalues, relative
WORKERS = 4  # more threads than these wait for memory
WORTH_SHARING = 2**18  # entries of a matrix below which handing rows to a thread takes longer than the product


def leading_eigenpairs(matrix: np.ndarray | csr_array, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The greatest eigenvalues `(count,)` of a symmetric matrix, descending, and vectors; the same ones every time.

    Dense matrices by LAPACK. Sparse ones by ARPACK's restarted Lanczos from a fixed start, and by its inverse where
    that does not converge: on long thin clouds of points eigenvalues crowd too much for the former, and factors are
    cheap. Rows of a sparse matrix are shared among threads, which scipy by itself does not; each row is summed by one
    thread, so results do not depend on their number.
    """
    size = matrix.shape[0]  # pyright: ignore[reportOptionalSubscript]
    if not isinstance(matrix, csr_array) or size <= max(DIRECT, 3 * count):
        dense = matrix.toarray() if isinstance(matrix, csr_array) else matrix
        values, vectors = eigh(dense, subset_by_index=[size - count, size - 1])
        return values[::-1], vectors[:, ::-1]
    try:
        return _lanczos(matrix, size, count)
    except ArpackNoConvergence:
        return _inverse(matrix, size, count)


def _lanczos(matrix: csr_array, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    workers = min(WORKERS, cpu_count())
    if workers == 1 or matrix.nnz < WORTH_SHARING:
        return _arpack(matrix, size, count)
    bounds = np.searchsorted(matrix.indptr, np.linspace(0, matrix.nnz, workers + 1)[1:-1])
    parts = [matrix[start:stop] for start, stop in zip([0, *bounds], [*bounds, size], strict=True)]
    with ThreadPoolExecutor(workers) as pool:

        def product(vector: np.ndarray) -> np.ndarray:
            return np.concatenate(list(pool.map(lambda part: part @ vector.ravel(), parts)))

        shared = LinearOperator(shape=(size, size), matvec=product, dtype=np.dtype(float))  # pyright: ignore
        return _arpack(shared, size, count)


def _arpack(matrix: csr_array | LinearOperator, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    start, tolerance = np.random.default_rng(0).standard_normal(size), TOLERANCE
    values, vectors = eigsh(matrix, k=count, which="LA", tol=tolerance, v0=start, maxiter=RESTARTS)  # pyright: ignore
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]


def _inverse(matrix: csr_array, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    start = np.random.default_rng(0).standard_normal(size)
    _, vectors = eigsh(matrix.tocsc(), k=count, sigma=1 + BEYOND_ONE, which="LM", v0=start)
    values = np.sum(vectors * (matrix @ vectors), axis=0)
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]
