"""Distances between two samples."""

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance


def coordinate_wasserstein(first: Float[np.ndarray, "n D"], second: Float[np.ndarray, "m D"]) -> Float[np.ndarray, "D"]:
    """The Wasserstein-1 distance of each coordinate, in its unit."""
    return np.array([wasserstein_distance(a, b) for a, b in zip(first.T, second.T, strict=True)])


def energy_coefficient(
    first: Float[np.ndarray, "n D"],
    second: Float[np.ndarray, "m D"],
    weight: Float[np.ndarray, "m"] | None = None,
) -> float:
    r"""The coefficient of inhomogeneity, $H = (2E|X-Y| - E|X-X'| - E|Y-Y'|) / 2E|X-Y|$, in [0, 1].

    Unbiased in its numerator, so it may fall slightly below zero for equal distributions. Coordinates are scaled by the
    pooled standard deviation first. `weight` are importance weights of the second sample.

    Source: Székely & Rizzo, J. Stat. Plan. Inference 143, 1249 (2013).
    """
    scale = np.std(np.concatenate([first, second]), axis=0)
    first, second = first / np.where(scale > 0, scale, 1.0), second / np.where(scale > 0, scale, 1.0)
    share = np.full(len(second), 1 / len(second)) if weight is None else weight / np.sum(weight)
    across = np.mean(cdist(first, second) @ share)
    within_first = np.sum(cdist(first, first)) / (len(first) * (len(first) - 1))
    within_second = share @ cdist(second, second) @ share / (1 - share @ share)
    return float((2 * across - within_first - within_second) / (2 * across)) if across > 0 else 0.0
