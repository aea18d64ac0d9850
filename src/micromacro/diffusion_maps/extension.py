"""Modes at points that the walk never visits, by its own probabilities of going from there."""

import numpy as np
from jaxtyping import Float
from scipy.special import softmax

from micromacro.diffusion_maps.kernel import Kernel
from micromacro.diffusion_maps.neighbours import BLOCK, nearest_neighbours

LEAST_DIVISOR = 0.1  # of Nyström's formula; below, the kernel at a point is wider than the mode and says nothing of it


def extended_modes(
    points: Float[np.ndarray, "m F"],
    kernel: Kernel,
    log_normalisation: Float[np.ndarray, "m"],
    eigenvalues: Float[np.ndarray, "k"],
    vectors: Float[np.ndarray, "m k"],
    queries: Float[np.ndarray, "p F"],
    neighbours: int,
    *,
    query_scale: Float[np.ndarray, "p"] | None = None,
    query_metric: Float[np.ndarray, "p F F"] | None = None,
) -> Float[np.ndarray, "p k"]:
    r"""Nyström's formula, $\psi(x) = \sum_j P(x, j) \psi_j / (1 - \rho(x)^2 (1 - \lambda))$, over nearest neighbours.

    Probabilities are relative to the greatest, so that far from all points they go to the nearest. By blocks of
    queries: memory is that of the queries and of 2²⁴ distances.
    """
    count = min(neighbours, len(points))
    rows, blocks = max(1, BLOCK // count), []
    for start in range(0, len(queries), rows):
        block = slice(start, start + rows)
        metric = None if query_metric is None else query_metric[block]
        found = nearest_neighbours(points, count, queries[block], metric=kernel.metric, query_metric=metric)
        squares, divisor = found.squares, eigenvalues[None, :]
        if kernel.scale is not None and query_scale is not None:
            own = query_scale[block, None]
            squares, divisor = squares / (own * kernel.scale[found.indices]), 1 - own**2 * (1 - eigenvalues)
        exponent = log_normalisation[found.indices] - squares / (4 * kernel.bandwidth)
        averaged = np.einsum("pj,pjk->pk", softmax(exponent, axis=1), vectors[found.indices])
        blocks.append(averaged / np.maximum(divisor, LEAST_DIVISOR))
    return np.concatenate([vectors[:0], *blocks])


def extended_scale(
    points: Float[np.ndarray, "m F"], kernel: Kernel, queries: Float[np.ndarray, "p F"], neighbours: int
) -> Float[np.ndarray, "p"]:
    r"""The ρ of a variable bandwidth at other points, a mean of logarithms with weights $e^{-d_j^2 / 4 ε ρ_j^2}$."""
    assert kernel.scale is not None
    found = nearest_neighbours(points, min(neighbours, len(points)), queries)
    scale = kernel.scale[found.indices]
    share = softmax(-found.squares / (4 * kernel.bandwidth * scale**2), axis=1)
    return np.exp(np.sum(share * np.log(scale), axis=1))
