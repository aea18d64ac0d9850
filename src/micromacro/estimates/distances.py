"""Distances between two samples, dimensionless except where said otherwise, and their permutation test.

They are Euclidean: pass a periodic coordinate through `embed_periodic` first. Those that compare all pairs hold arrays
of n × m numbers; thin samples of more than about ten thousand.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.distance import cdist, pdist
from scipy.stats import wasserstein_distance

from micromacro.errors import InputError

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
ENOUGH_FOR_A_MEDIAN = 1000
ROUNDING = 1e-12


def embed_periodic(states: Float[np.ndarray, "n Y"], period: Float[np.ndarray, "Y"]) -> Float[np.ndarray, "n E"]:
    """States with each periodic coordinate replaced, in its place, by two: where it lies on a circle in the plane.

    The circle has the period as its circumference, so that small distances and units are kept.

    **Arguments:**

    - `period`: in the unit of each coordinate; infinite where a coordinate is not periodic.
    """
    columns = []
    for values, length in zip(states.T, period, strict=True):
        angle = 2 * np.pi * values / length
        radius = length / (2 * np.pi)
        columns += [radius * np.cos(angle), radius * np.sin(angle)] if np.isfinite(length) else [values]
    return np.stack(columns, axis=1)


def pooled_scale(first: Float[np.ndarray, "n D"], second: Float[np.ndarray, "m D"]) -> Float[np.ndarray, "D"]:
    """The standard deviation of both samples together, per coordinate; one where it is constant up to rounding."""
    pooled = np.concatenate([first, second])
    scale = np.std(pooled, axis=0)
    return np.where(scale > ROUNDING * np.max(np.abs(pooled), axis=0), scale, 1.0)


def coordinate_wasserstein(first: Float[np.ndarray, "n D"], second: Float[np.ndarray, "m D"]) -> Float[np.ndarray, "D"]:
    """The Wasserstein-1 distance of each coordinate, in its unit."""
    return np.array([wasserstein_distance(a, b) for a, b in zip(first.T, second.T, strict=True)])


def sliced_wasserstein(
    first: Float[np.ndarray, "n D"],
    second: Float[np.ndarray, "m D"],
    rng: np.random.Generator,
    *,
    directions: int = 128,
    weight: Float[np.ndarray, "m"] | None = None,
) -> float:
    r"""The mean over random unit directions of the Wasserstein-1 distance of the projections.

    Coordinates are scaled by the pooled standard deviation first. Samples of equal laws are about
    $1/\sqrt{n} + 1/\sqrt{m}$ apart, not zero; a shift of one coordinate shrinks with the dimension as
    $\sqrt{2/\pi D}$.

    **Arguments:**

    - `weight`: importance weights of the second sample; their scale does not matter.

    Sources: Rabin, Peyré, Delon & Bernot, SSVM 2011, 435; Bonneel, Rabin, Peyré & Pfister, J. Math. Imaging Vis. 51,
    22 (2015).
    """
    scale = pooled_scale(first, second)
    towards = rng.normal(size=(first.shape[1], directions))
    towards /= np.linalg.norm(towards, axis=0)
    projections = zip((first / scale @ towards).T, (second / scale @ towards).T, strict=True)
    return float(np.mean([wasserstein_distance(a, b, v_weights=weight) for a, b in projections]))


def energy_distance(
    first: Float[np.ndarray, "n D"],
    second: Float[np.ndarray, "m D"],
    weight: Float[np.ndarray, "m"] | None = None,
) -> float:
    r"""The squared energy distance, $2E|X-Y| - E|X-X'| - E|Y-Y'|$, unbiased: it may fall below zero for equal laws.

    Coordinates are scaled by the pooled standard deviation first. `weight` are importance weights of the second sample.

    **Raises:** `InputError` where a sample has less than two states of positive weight.

    Source: Székely & Rizzo, J. Stat. Plan. Inference 143, 1249 (2013).
    """
    return _discrepancy(*_kernel_means(_minus, *_scaled(first, second), weight))


def energy_coefficient(
    first: Float[np.ndarray, "n D"],
    second: Float[np.ndarray, "m D"],
    weight: Float[np.ndarray, "m"] | None = None,
) -> float:
    r"""The coefficient of inhomogeneity, $H = (2E|X-Y| - E|X-X'| - E|Y-Y'|) / 2E|X-Y|$, in [0, 1].

    Unbiased in its numerator, so it may fall slightly below zero for equal distributions. Coordinates are scaled by the
    pooled standard deviation first. `weight` are importance weights of the second sample.

    **Raises:** `InputError` where a sample has less than two states of positive weight.

    Source: Székely & Rizzo, J. Stat. Plan. Inference 143, 1249 (2013).
    """
    means = _kernel_means(_minus, *_scaled(first, second), weight)
    return _discrepancy(*means) / (-2 * means[2]) if means[2] < 0 else 0.0


def maximum_mean_discrepancy(
    first: Float[np.ndarray, "n D"],
    second: Float[np.ndarray, "m D"],
    weight: Float[np.ndarray, "m"] | None = None,
) -> float:
    r"""The squared maximum mean discrepancy, $E k(X,X') + E k(Y,Y') - 2E k(X,Y)$, unbiased.

    The kernel is the mean of Gaussians $e^{-|x-y|^2/2b^2}$ whose widths b are a quarter to four times the median
    distance between states of either sample. Coordinates are scaled by the pooled standard deviation first. `weight`
    are importance weights of the second sample; the scale and the widths do not heed them.

    **Raises:** `InputError` where a sample has less than two states of positive weight.

    Source: Gretton, Borgwardt, Rasch, Schölkopf & Smola, J. Mach. Learn. Res. 13, 723 (2012), eq. 3.
    """
    first, second = _scaled(first, second)
    return _discrepancy(*_kernel_means(_gaussians(first, second), first, second, weight))


def permutation_p_value(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    first: Float[np.ndarray, "n D"],
    second: Float[np.ndarray, "m D"],
    rng: np.random.Generator,
    permutations: int = 999,
) -> float:
    """How often states dealt out anew to the two samples are as far apart: small where their laws differ.

    Valid for any statistic when the states are independent; frames of one chain are not. `energy_distance` and
    `maximum_mean_discrepancy` compute their pairs once for all permutations.

    **Arguments:**

    - `statistic`: of two samples `(n, D)` and `(m, D)`; larger where they differ more.

    Source: Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9, 39 (2010): the observed deal is counted as one.
    """
    size, both = len(first), np.concatenate([first, second])
    order = np.stack([np.arange(len(both)), *(rng.permutation(len(both)) for _ in range(permutations))])
    if statistic in (energy_distance, maximum_mean_discrepancy):
        scaled = both / pooled_scale(first, second)
        kernel = _minus if statistic is energy_distance else _gaussians(scaled[:size], scaled[size:])
        chosen = np.zeros(order.shape, bool)
        np.put_along_axis(chosen, order[:, :size], True, axis=1)
        found = _dealt_discrepancies(kernel(cdist(scaled, scaled)), chosen)
    else:
        found = np.array([statistic(both[deal[:size]], both[deal[size:]]) for deal in order])
    # the same deal in another order is a tie, whatever rounding makes of it
    return float(np.mean(found >= found[0] - ROUNDING * np.max(np.abs(found))))


Kernel = Callable[[np.ndarray], np.ndarray]
"""Distances between states to their kernel."""


def _scaled(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = pooled_scale(first, second)
    return first / scale, second / scale


def _minus(distance: np.ndarray) -> np.ndarray:
    """The kernel that makes the energy distance a maximum mean discrepancy."""
    return -distance


def _gaussians(first: np.ndarray, second: np.ndarray) -> Kernel:
    both = np.concatenate([first, second])
    distances = pdist(both[:: -(-len(both) // ENOUGH_FOR_A_MEDIAN)])
    # where most states are repeats of one the median is no width
    median = np.median(distances) or np.mean(distances) or 1.0

    def kernel(distance: np.ndarray) -> np.ndarray:
        total = np.zeros_like(distance)
        for width in BANDWIDTHS:
            total += np.exp(-0.5 * (distance / (width * median)) ** 2)
        return total / len(BANDWIDTHS)

    return kernel


def _kernel_means(
    kernel: Kernel, first: np.ndarray, second: np.ndarray, weight: np.ndarray | None
) -> tuple[float, float, float]:
    """The means of a kernel over different states of the first sample, of the second, and across."""
    share = np.full(len(second), 1 / len(second)) if weight is None else weight / np.sum(weight)
    own = float(share @ share)
    if len(first) < 2 or not own < 1.0:
        raise InputError("each sample", "have two or more states of positive weight", (len(first), np.sum(share > 0)))
    itself = kernel(np.zeros((1, 1)))[0, 0]
    within_first = (np.mean(kernel(cdist(first, first))) - itself / len(first)) / (1 - 1 / len(first))
    within_second = (share @ kernel(cdist(second, second)) @ share - itself * own) / (1 - own)
    return float(within_first), float(within_second), float(np.mean(kernel(cdist(first, second)) @ share))


def _discrepancy(within_first: float, within_second: float, across: float) -> float:
    return within_first + within_second - 2 * across


def _dealt_discrepancies(pairs: Float[np.ndarray, "N N"], chosen: Bool[np.ndarray, "P N"]) -> Float[np.ndarray, "P"]:
    """The discrepancy of each deal, from the kernel of all pairs and which states go to the first sample."""
    pairs = pairs - np.diag(np.diag(pairs))
    n = int(chosen[0].sum())
    m = len(pairs) - n
    chosen = chosen.astype(float)
    within_first = np.sum(chosen @ pairs * chosen, axis=1)
    across = chosen @ pairs.sum(axis=1) - within_first
    within_second = pairs.sum() - within_first - 2 * across
    return within_first / (n * (n - 1)) + within_second / (m * (m - 1)) - 2 * across / (n * m)
