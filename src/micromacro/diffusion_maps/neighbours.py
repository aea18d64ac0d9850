"""Nearest neighbours of every point, in the distance of the kernel."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.spatial import KDTree
from sklearn.neighbors import NearestNeighbors

from micromacro.diffusion_maps.kernel import squared_distances

TREE_FEATURES = 10  # beyond so many features a tree visits nearly all points, and products of matrices are faster
BLOCK = 2**24  # distances held at once where all are computed, 128 MB


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest of m points to each of n, nearest first, a point itself among its own.

    **Arguments:**

    - `indices`: `(n, k)`.
    - `squares`: squared distances to them `(n, k)`.
    """

    indices: Int[np.ndarray, "n k"]
    squares: Float[np.ndarray, "n k"]


def nearest_neighbours(
    points: Float[np.ndarray, "m F"],
    count: int,
    queries: Float[np.ndarray, "n F"] | None = None,
    *,
    metric: Float[np.ndarray, "m F F"] | None = None,
    query_metric: Float[np.ndarray, "n F F"] | None = None,
) -> Neighbours:
    """The nearest points to each query, or to each point where no queries are given.

    Euclidean neighbours come from a tree in few dimensions. In a metric that changes from point to point no tree and
    no preselection by Euclidean distance finds the right ones, so all distances are computed, block by block: time
    grows as n m F², memory as n k and the block.
    """
    queries, query_metric = (points, metric) if queries is None else (queries, query_metric)
    if metric is not None:
        return _exhaustive(points, count, queries, metric, query_metric)
    if points.shape[1] <= TREE_FEATURES:
        distances, indices = KDTree(points).query(queries, k=count, workers=-1)
    else:
        search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(points)
        distances, indices = search.kneighbors(queries)
    shape = (len(queries), count)
    return Neighbours(np.reshape(indices, shape), np.reshape(distances, shape) ** 2)


def _exhaustive(
    points: np.ndarray, count: int, queries: np.ndarray, metric: np.ndarray, query_metric: np.ndarray | None
) -> Neighbours:
    """Neighbours among all distances, by blocks of queries."""
    rows = max(1, BLOCK // len(points))
    indices, nearest = [], []
    for start in range(0, len(queries), rows):
        block = slice(start, start + rows)
        own = None if query_metric is None else query_metric[block]
        squares = squared_distances(queries[block], own, points, metric)
        if count < len(points):
            chosen = np.argpartition(squares, count - 1, axis=1)[:, :count]
        else:
            chosen = np.broadcast_to(np.arange(count), squares.shape)
        found = np.take_along_axis(squares, chosen, axis=1)
        order = np.argsort(found, axis=1, kind="stable")
        indices.append(np.take_along_axis(chosen, order, axis=1))
        nearest.append(np.take_along_axis(found, order, axis=1))
    return Neighbours(np.concatenate(indices), np.concatenate(nearest))


def symmetric_graph(found: Neighbours, values: Float[np.ndarray, "n k"]) -> csr_array:
    """Positive values on the edges between points of which one is a neighbour of the other, `(n, n)`, symmetric."""
    n, k = values.shape
    starts = np.arange(0, n * k + 1, k, dtype=np.int32 if n * k < 2**30 else np.int64)
    one_sided = csr_array((values.ravel(), found.indices.ravel().astype(starts.dtype), starts), shape=(n, n))
    graph = csr_array(one_sided.maximum(one_sided.T)).copy()  # without the room for edges that are in both
    graph.sort_indices()
    return graph
