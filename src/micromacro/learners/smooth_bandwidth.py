r"""How wide a kernel must be for a coordinate that is to be biased along.

The bandwidth of greatest slope is the best for the eigenvalues; in many dimensions it lets a point see few others, and
the coordinate, an average over those it sees, is rough between them and a step between wells. Here a point shall see
$(\sum_j K_{ij})^2 / \sum_j K_{ij}^2$ others, a share of all, and no group of points, but strays, shall be out of reach
of the rest.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import root_scalar

from micromacro.diffusion_maps.bandwidth import kernel_scaling
from micromacro.diffusion_maps.kernel import squared_distances
from micromacro.diffusion_maps.spread import tying_bandwidth

MOST_POINTS = 1500
SEEN = 1 / 30
"""Share of the points that half of them see at least."""
LEAST_SEEN = 0.05
FEWEST_SEEN = 30.0
"""As many of few points, up to a quarter of them."""


def smooth_bandwidth(points: Float[np.ndarray, "n F"], rng: np.random.Generator) -> float:
    """Least ε at which points see enough of one another, and not below that of greatest slope.

    **Raises:** `InputError` where all points are equal.
    """
    rows = rng.permutation(len(points))[:MOST_POINTS]
    squares = squared_distances(points[rows])
    np.fill_diagonal(squares, 0.0)
    steepest = kernel_scaling(squares).bandwidth
    return max(steepest, _seeing(squares, steepest), tying_bandwidth(squares))


def without_strays(
    points: Float[np.ndarray, "n F"], bandwidth: float, rng: np.random.Generator
) -> Int[np.ndarray, "m"]:
    """Indices of the points that are not apart: a walk hardly leaves a stray, and would make it its slowest mode.

    A stray sees less than a twentieth of what half of the points see, by the sum of the kernel.
    """
    rows = rng.permutation(len(points))[:MOST_POINTS]
    seen = np.exp(-squared_distances(points, others=points[rows]) / (4 * bandwidth)).sum(axis=1)
    return np.flatnonzero(seen >= LEAST_SEEN * np.median(seen))


def _seeing(squares: Float[np.ndarray, "n n"], start: float) -> float:
    """The ε at which half of the points see the share."""
    wanted = np.log(max(SEEN * len(squares), min(FEWEST_SEEN, len(squares) / 4), 2.0))

    def excess(log_bandwidth: float) -> float:
        kernel = np.exp(-squares / (4 * np.exp(log_bandwidth)))
        return float(np.log(np.median(kernel.sum(axis=1) ** 2 / (kernel**2).sum(axis=1))) - wanted)

    low, high = np.log(start), np.log(max(squares.max(), start))
    if excess(low) >= 0:
        return start
    found = root_scalar(excess, bracket=(low, high), xtol=1e-3)
    return float(np.exp(found.root))
