r"""Kernels between points: Gaussian, of one bandwidth, of a bandwidth for each point, or in a metric for each point."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Kernel:
    r"""$K_{ij} = \exp(-d_{ij}^2 / 4 \varepsilon \rho_i \rho_j)$ on n points.

    **Arguments:**

    - `bandwidth`: ε, in squared units of the distance.
    - `scale`: ρ `(n,)` of a variable bandwidth; `None` for ρ = 1.
    - `metric`: inverse covariance of the noise at each point, $d_{ij}^2 = \frac12 (x_i - x_j)^T (C_i^{-1} + C_j^{-1})
      (x_i - x_j)$, `(n, F, F)`; `None` for Euclidean distances.
    """

    bandwidth: float
    scale: Float[np.ndarray, "n"] | None = None
    metric: Float[np.ndarray, "n F F"] | None = None


def squared_distances(points: Float[np.ndarray, "n F"], metric: np.ndarray | None = None) -> Float[np.ndarray, "n n"]:
    r"""All squared distances, Euclidean or, where a metric is given, Mahalanobis.

    Source of the latter: Singer and Coifman, Appl. Comput. Harmon. Anal. 25, 226 (2008), equation 3.
    """
    if metric is None:
        square = np.sum(points**2, axis=1)
        return np.maximum(square[:, None] + square - 2 * points @ points.T, 0.0)
    moved = np.einsum("nij,nj->ni", metric, points)
    own = np.sum(points * moved, axis=1)
    crossed = np.einsum("mi,nij,mj->mn", points, metric, points, optimize=True)
    one_sided = crossed - 2 * points @ moved.T + own
    return np.maximum((one_sided + one_sided.T) / 2, 0.0)
