"""Work on tall arrays and sparse matrices, its rows shared among threads.

scipy's sparse products use one thread. BLAS has threads of its own, which wait for one another by spinning: on cores
that others use too, or on arrays as slim as these, they take many times as long as one. It is kept to one thread here,
and the threads share blocks of rows, of a size that does not depend on their number: nor do results.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from joblib import cpu_count
from jaxtyping import Float
from scipy.sparse import csr_array, vstack
from threadpoolctl import threadpool_limits

WORKERS = 4  # more threads than these wait for memory
BLOCK_ROWS = 4096  # of a tall array: so many rows of forty columns stay in a core's own memory


@dataclass(frozen=True, eq=False)
class SharedRows:
    """Products of tall arrays and sparse matrices by the threads of a pool, made by `shared_rows`."""

    pool: ThreadPoolExecutor

    def product(self, matrix: csr_array, other: np.ndarray | csr_array) -> np.ndarray | csr_array:
        """The product of a sparse matrix with an array or with another sparse matrix."""
        rows = _row_blocks(matrix.shape[0])
        parts = self._each(lambda block: _rows(matrix, block) @ other, rows)
        return vstack(parts, format="csr") if isinstance(other, csr_array) else np.concatenate(parts)

    def gram(self, first: Float[np.ndarray, "n p"], second: Float[np.ndarray, "n q"]) -> Float[np.ndarray, "p q"]:
        """Scalar products of columns."""
        return sum(self._each(lambda block: first[block].T @ second[block], _row_blocks(len(first))), np.zeros(()))

    def turned(self, array: Float[np.ndarray, "n p"], by: Float[np.ndarray, "p q"]) -> Float[np.ndarray, "n q"]:
        """Combinations of columns."""
        return np.concatenate(self._each(lambda block: array[block] @ by, _row_blocks(len(array))))

    def _each(self, function: Callable[[slice], np.ndarray], blocks: list[slice]) -> list[np.ndarray]:
        return list(self.pool.map(function, blocks))


@contextmanager
def shared_rows() -> Iterator[SharedRows]:
    """Threads for the time of a `with` statement."""
    with threadpool_limits(1), ThreadPoolExecutor(min(WORKERS, cpu_count())) as pool:
        yield SharedRows(pool)


def _row_blocks(count: int) -> list[slice]:
    return [slice(start, min(start + BLOCK_ROWS, count)) for start in range(0, count, BLOCK_ROWS)]


def _rows(matrix: csr_array, block: slice) -> csr_array:
    """Some rows of a matrix, whose entries are not copied."""
    starts = matrix.indptr[block.start : block.stop + 1]
    entries = slice(starts[0], starts[-1])
    shape = (block.stop - block.start, matrix.shape[1])
    return csr_array((matrix.data[entries], matrix.indices[entries], starts - starts[0]), shape=shape)
