r"""Which eigenvectors are new directions, and which only functions of those before them.

Every eigenvector is predicted by a local linear regression that leaves the predicted point out; one that is predicted
well, a harmonic, adds no coordinate. The source predicts from all eigenvectors that came before, here from those chosen
before: where two of one rate mix a harmonic with a new direction, the first, hardly new, would else give the direction
away, and the second, which holds most of it, would pass for its harmonic. With fewer dimensions to regress in, the
kernel can be narrower than that of the source.

Source: Dsilva, Talmon, Coifman and Kevrekidis, Appl. Comput. Harmon. Anal. 44, 759 (2018).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from micromacro.errors import InputError

RIDGE = 1e-6
"""Added to the normal equations, in squared widths of the kernel: neighbours in a line would leave them singular."""


@dataclass(frozen=True)
class IndependenceSettings:
    """How eigenvectors are judged.

    **Arguments:**

    - `threshold`: smallest residual of a coordinate that is new, from 0 to 1.
    - `width`: of the regression's kernel, in medians of the distances between points in the chosen eigenvectors.
    - `neighbours`: for each slope fitted, the width reaches at least so many points, or outliers would have none.
    - `points`: drawn for the regression where there are more; time and memory grow as their square.
    - `seed`: of that draw.
    """

    threshold: float = 0.55
    width: float = 0.1
    neighbours: int = 3
    points: int = 1500
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise InputError("threshold", "lie between 0 and 1", self.threshold)
        if self.width <= 0:
            raise InputError("width", "be positive", self.width)
        if self.neighbours < 1:
            raise InputError("neighbours", "be positive", self.neighbours)
        if self.points < 10:
            raise InputError("points", "be at least 10", self.points)


DEFAULTS = IndependenceSettings()


@dataclass(frozen=True, eq=False)
class IndependentCoordinates:
    """Residuals of all eigenvectors `(k,)`, the first of them one, and the indices of those `chosen`."""

    residuals: Float[np.ndarray, "k"]
    chosen: Int[np.ndarray, "d"]


def independent_coordinates(
    eigenvectors: Float[np.ndarray, "n k"],
    weight: Float[np.ndarray, "n"] | None = None,
    settings: IndependenceSettings = DEFAULTS,
) -> IndependentCoordinates:
    r"""Residuals of eigenvectors `(n, k)`, slowest first and without the constant one, on those chosen before them.

    $r_k^2 = \sum_i w_i (\psi_k(i) - \hat\psi_k(i))^2 / \sum_i w_i \psi_k(i)^2$, where $\hat\psi_k(i)$ is the value at i
    of the linear function of the chosen ones fitted to all points but i with weights $w_j \exp(-d_{ij}^2 / h^2)$;
    $d_{ij}$ is the distance in the chosen ones and h its median times `width`. Give as `weight` `(n,)` the measure in
    which the eigenvectors are normalised, the `stationary` one of their map; equal weights where left out.

    Source: Dsilva et al. (2018).
    """
    kept = _drawn(len(eigenvectors), settings)
    share = np.ones(len(kept)) if weight is None else weight[kept]
    share = share / share.sum()
    vectors = eigenvectors[kept] - share @ eigenvectors[kept]
    residuals, chosen = np.ones(vectors.shape[1]), [0]
    for index in range(1, vectors.shape[1]):
        residuals[index] = _residual(vectors[:, chosen], vectors[:, index], share, settings)
        if residuals[index] >= settings.threshold:
            chosen.append(index)
    return IndependentCoordinates(residuals, np.array(chosen))


def _drawn(count: int, settings: IndependenceSettings) -> Int[np.ndarray, "m"]:
    if count <= settings.points:
        return np.arange(count)
    return np.random.default_rng(settings.seed).choice(count, settings.points, replace=False)


def _residual(
    before: Float[np.ndarray, "n p"],
    vector: Float[np.ndarray, "n"],
    weight: Float[np.ndarray, "n"],
    settings: IndependenceSettings,
) -> float:
    """The residual of one eigenvector on others."""
    distances = cdist(before, before)
    reached = min(settings.neighbours * (before.shape[1] + 1), len(vector) - 1)
    nearest = np.partition(distances, reached, axis=1)[:, reached]
    width = np.maximum(settings.width * np.median(distances), nearest)
    near = np.exp(-((distances / width[:, None]) ** 2)) * weight
    np.fill_diagonal(near, 0.0)
    near /= near.sum(axis=1, keepdims=True)
    error = vector - _local_fit(before, vector, near, RIDGE * width**2)
    return float(np.sqrt(weight @ error**2 / (weight @ vector**2)))


def _local_fit(
    before: Float[np.ndarray, "n p"],
    vector: Float[np.ndarray, "n"],
    near: Float[np.ndarray, "n n"],
    ridge: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n"]:
    """Values at the points of the linear functions fitted around each, with the weights in its row of `near`."""
    size = before.shape[1]
    centre, level = near @ before, near @ vector
    second = (near @ (before[:, :, None] * before[:, None]).reshape(len(before), -1)).reshape(-1, size, size)
    spread = second - centre[:, :, None] * centre[:, None] + ridge[:, None, None] * np.eye(size)
    shared = near @ (before * vector[:, None]) - centre * level[:, None]
    slope = np.linalg.solve(spread, shared[:, :, None])[:, :, 0]
    return level + np.sum(slope * (before - centre), axis=1)
