"""Landmarks: a sample of the points that stands for all of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from micromacro.diffusion_maps.neighbours import nearest_neighbours


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Points that carry the walk, each standing for those nearest to it.

    **Arguments:**

    - `indices`: among the points `(m,)`.
    - `counts`: of points that each stands for `(m,)`, itself among them.
    - `log_mass`: logarithm of the sum of their masses `(m,)`.
    """

    indices: Int[np.ndarray, "m"]
    counts: Float[np.ndarray, "m"]
    log_mass: Float[np.ndarray, "m"]


def chosen_landmarks(
    points: Float[np.ndarray, "n F"],
    log_mass: Float[np.ndarray, "n"],
    count: int | None,
    *,
    metric: Float[np.ndarray, "n F F"] | None = None,
) -> Landmarks:
    """Points drawn at random, the same every time, or all of them where there are no more.

    Drawn alike from all points they have the density of the sample, so regions of little weight that were sampled
    on purpose keep their share. Masses of the points, (1 - α) powers of their weights, go to the nearest landmark.
    """
    size = len(points)
    if count is None or size <= count:
        return Landmarks(np.arange(size), np.ones(size), log_mass)
    indices = np.sort(np.random.default_rng(0).choice(size, count, replace=False))
    own = None if metric is None else metric[indices]
    nearest = nearest_neighbours(points[indices], 1, points, metric=own, query_metric=metric).indices[:, 0]
    counts = np.bincount(nearest, minlength=count).astype(float)
    mass = np.bincount(nearest, weights=np.exp(log_mass - log_mass.max()), minlength=count)
    with np.errstate(divide="ignore"):
        return Landmarks(indices, np.maximum(counts, 1.0), np.log(mass) + log_mass.max())


def near_one_another(landmarks: Landmarks, points: Float[np.ndarray, "n F"]) -> Landmarks:
    """The same landmarks in the order of a tree's leaves.

    Those near in space are then near in memory. Products with a sparse matrix of neighbours, which wait for memory,
    take half the time.
    """
    order = KDTree(points[landmarks.indices]).indices
    return Landmarks(landmarks.indices[order], landmarks.counts[order], landmarks.log_mass[order])
