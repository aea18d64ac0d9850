"""Work on tall arrays and sparse matrices, its rows shared among threads.

scipy's sparse products use one thread. BLAS has threads of its own, which wait for one another by spinning: on cores
that others use too, or on arrays as slim as these, they take many times as long as one. It is kept to one thread here,
and the threads share blocks of rows, of a size that does not depend on their number: nor do results.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float
from joblib import cpu_count
from scipy.sparse import csr_array, vstack
from threadpoolctl import threadpool_limits

WORKERS = 4  # more threads than these wait for memory
BLOCK_ROWS = 4096  # at most; so many rows of forty columns stay in a core's own memory


@dataclass(frozen=True, eq=False)
class SharedRows:
    """Products of tall arrays and sparse matrices by the threads of a pool, made by `shared_rows`."""

    pool: ThreadPoolExecutor

    def product(self, matrix: csr_array, array: Float[np.ndarray, "n *p"]) -> Float[np.ndarray, "m *p"]:
        """The product of a sparse matrix `(m, n)` with a vector or some columns."""
        return np.concatenate(self._each(lambda block: _rows(matrix, block) @ array, _size(matrix)))

    def sparse_product(self, first: csr_array, second: csr_array) -> csr_array:
        """The product of two sparse matrices."""
        return csr_array(vstack(self._each(lambda block: _rows(first, block) @ second, _size(first))))

    def gram(self, first: Float[np.ndarray, "n p"], second: Float[np.ndarray, "n q"]) -> Float[np.ndarray, "p q"]:
        """Scalar products of columns."""
        parts = self._each(lambda block: first[block].T @ second[block], len(first))
        return np.sum(parts, axis=0)

    def turned(self, arrays: Sequence[np.ndarray], by: Float[np.ndarray, "p q"]) -> Float[np.ndarray, "n q"]:
        """Combinations of the columns of arrays `(n, …)` that have p in all."""
        parts = self._each(lambda block: np.hstack([array[block] for array in arrays]) @ by, len(arrays[0]))
        return np.concatenate(parts)

    def _each(self, function: Callable[[slice], Any], count: int) -> list[Any]:
        if count <= BLOCK_ROWS:
            return [function(slice(0, count))]
        ends = np.linspace(0, count, 1 + WORKERS * math.ceil(count / (WORKERS * BLOCK_ROWS))).astype(int)
        return list(self.pool.map(function, [slice(*pair) for pair in pairwise(ends)]))


@contextmanager
def shared_rows() -> Iterator[SharedRows]:
    """Threads for the time of a `with` statement."""
    with threadpool_limits(1), ThreadPoolExecutor(min(WORKERS, cpu_count())) as pool:
        yield SharedRows(pool)


def _size(matrix: csr_array) -> int:
    return matrix.shape[0]  # pyright: ignore[reportOptionalSubscript]


def _rows(matrix: csr_array, block: slice) -> csr_array:
    """Some rows of a matrix, whose entries are not copied."""
    starts = matrix.indptr[block.start : block.stop + 1]
    entries = slice(starts[0], starts[-1])
    shape = (block.stop - block.start, matrix.shape[1])  # pyright: ignore[reportOptionalSubscript]
    return csr_array((matrix.data[entries], matrix.indices[entries], starts - starts[0]), shape=shape)
