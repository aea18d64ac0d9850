"""Fewer points of a weighted sample, of every weight some."""

import numpy as np
from jaxtyping import Float, Int

from micromacro.errors import InputError

SMALLEST_WEIGHT = 1e-12


def choose_points(
    weight: Float[np.ndarray, "n"], count: int, rng: np.random.Generator, *, smallest: float = SMALLEST_WEIGHT
) -> Int[np.ndarray, "m"]:
    """Indices of at most `count` points, every weight being taken as often as there are points of it.

    Points are not drawn by weight: biased data are spread over barriers on purpose, where weights are small, and a map
    without them would fall apart into wells. So weights stay what they were. The sample is systematic in the order of
    weights, by which the chosen have nearly the same distribution of weights as all.

    **Arguments:**

    - `smallest`: weights below this share of the largest are left out: states that the target measure knows nothing of.

    **Raises:** `InputError` for less than two points that have a weight.
    """
    # shuffled first, lest points of equal weight be taken in the order of time
    order = rng.permutation(len(weight))
    order = order[np.argsort(weight[order], kind="stable")]
    order = order[weight[order] > smallest * weight.max()]
    if len(order) < 2 or count < 2:
        raise InputError("points", "be two or more of positive weight", min(len(order), count))
    if len(order) <= count:
        return np.sort(order)
    step = len(order) / count
    return np.sort(order[((np.arange(count) + rng.random()) * step).astype(int).clip(0, len(order) - 1)])
