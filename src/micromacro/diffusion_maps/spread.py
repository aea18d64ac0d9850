"""Landmarks spread evenly in the metric of the noise, and the bandwidth that joins them."""

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

STRAYS = 0.01
"""Share of the landmarks that, lying apart, are strays and not a metastable state of their own."""

LOOSEST = 5.0
"""Exponent d²/4ε at which two groups are still tied: e⁻⁵ a step is faster than any slow variable."""


def spread_landmarks(
    points: Float[np.ndarray, "n F"], metric: Float[np.ndarray, "n F F"], count: int
) -> tuple[Int[np.ndarray, "m"], Float[np.ndarray, "n m"]]:
    r"""Landmarks, each the point farthest from those before it, and squared distances of all points to each.

    In the landmark's own metric, $(x_i - y_j)^T C_j^{-1} (x_i - y_j)$.
    Even spacing reaches the sparse ends of the data, where as many random ones leave holes. Stops early where points
    repeat themselves. Source: Gonzalez, Theor. Comput. Sci. 38, 293 (1985).
    """
    squares = np.empty((min(count, len(points)), len(points)))
    chosen, nearest = [0], np.full(len(points), np.inf)
    for row in squares:
        delta = points - points[chosen[-1]]
        row[:] = np.einsum("nf,nf->n", delta @ metric[chosen[-1]], delta)
        nearest = np.minimum(nearest, row)
        chosen.append(int(np.argmax(nearest)))
        if nearest[chosen[-1]] <= 0:
            break
    chosen = chosen[: min(count, len(chosen) - 1)]
    return np.array(chosen), squares[: len(chosen)].T


def joining_bandwidth(squares: Float[np.ndarray, "m m"]) -> float:
    """Least ε at which no few landmarks lie apart, from squared distances between them.

    Below it the slowest mode of the walk is the escape of a stray point. Groups of more than a hundredth of the
    landmarks may lie apart.
    """
    edges, smaller = _joints(squares)
    return float(edges[smaller <= max(STRAYS * len(squares), 1)].max(initial=0.0) / (4 * LOOSEST))


def tying_bandwidth(squares: Float[np.ndarray, "m m"]) -> float:
    """Least ε at which groups of points are tied to one another, from squared distances; a hundredth may lie apart."""
    edges, smaller = _joints(squares)
    return float(edges[smaller > max(STRAYS * len(squares), 1)].max(initial=0.0) / (4 * LOOSEST))


def _joints(squares: Float[np.ndarray, "m m"]) -> tuple[Float[np.ndarray, "joints"], Float[np.ndarray, "joints"]]:
    """The squared distance of each joint by which single linkage joins all points, and the size of the smaller side."""
    joined = linkage(squareform(np.minimum(squares, squares.T), checks=False), "single")
    sizes = np.append(np.ones(len(squares)), joined[:, 3])
    smaller = np.minimum(sizes[joined[:, 0].astype(int)], sizes[joined[:, 1].astype(int)])
    return joined[:, 2], smaller
