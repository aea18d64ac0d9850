r"""Automatic bandwidth: the ε at which the sum of the kernel grows fastest.

On a manifold of dimension d the sum scales as $S(\varepsilon) = \sum_{ij} e^{-d_{ij}^2 / 4 \varepsilon} \propto
\varepsilon^{d/2}$ where ε is above the spacing of the points and below the size of the manifold; below, the points see
only themselves, and above, everything, and S is constant. The greatest slope of log S against log ε therefore marks a
good ε and is half the dimension. Source: Coifman, Shkolnisky, Sigworth and Singer, IEEE Trans. Image Process. 17, 1891
(2008); Berry and Harlim, Appl. Comput. Harmon. Anal. 40, 68 (2016), section 3.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar

from micromacro.errors import InputError

BINS = 4000  # of the logarithm of the squared distances; the slope is then right to four digits
GRID = 200


@dataclass(frozen=True)
class KernelScaling:
    """What the scaling of the kernel's sum tells.

    **Arguments:**

    - `bandwidth`: ε of greatest slope, in squared units of the distance.
    - `dimension`: twice that slope, the intrinsic dimension of the points; from below by the share of a point in its
      own neighbourhood, and by cut edges.
    """

    bandwidth: float
    dimension: float


def kernel_scaling(squares: Float[np.ndarray, "*any"]) -> KernelScaling:
    r"""The bandwidth and dimension from squared distances between points, each point's to itself among them.

    All distances `(n, n)`, or those to the k nearest neighbours `(n, k)`. The sum over neighbours stops growing where
    the kernel reaches beyond the last of them, so its greatest slope comes earlier: the choice is consistent with the
    neighbours by itself.

    The points count alike whatever their weights, since what limits ε from below is where samples lie, not what they
    stand for: a barrier that umbrella windows covered well has little weight and must be resolved all the same.

    **Raises:** `InputError` where all points are equal.
    """
    counts, centres, zeros = _histogram(squares)
    logs = np.linspace(np.log(centres[0]) - 2, np.log(centres[-1]) + 2, GRID)
    slopes = np.array([_slope(one, counts, centres, zeros) for one in logs])
    best = int(np.argmax(slopes))
    step = logs[1] - logs[0]
    found = minimize_scalar(
        lambda one: -_slope(one, counts, centres, zeros),
        bounds=(logs[best] - step, logs[best] + step),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return KernelScaling(float(np.exp(found.x)), float(-2 * found.fun))


def _histogram(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Counts of positive squared distances by logarithm, the centres of the bins, and how many distances are zero."""
    positive = squares[squares > 0]
    if not positive.size:
        raise InputError("points", "differ from each other", "points that are all equal")
    logs = np.log(positive)
    low, high = logs.min(), max(logs.max(), logs.min() + 1e-9)
    counts, edges = np.histogram(logs, bins=BINS, range=(low, high))
    return counts, np.exp((edges[1:] + edges[:-1]) / 2), squares.size - positive.size


def _slope(log_bandwidth: float, counts: np.ndarray, centres: np.ndarray, zeros: int) -> float:
    """D log S / d log ε, which is the mean of d²/4ε over the kernel."""
    scaled = centres / (4 * np.exp(log_bandwidth))
    kernel = counts * np.exp(-scaled)
    return float(kernel @ scaled / (kernel.sum() + zeros))
