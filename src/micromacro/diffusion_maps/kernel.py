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


def squared_distances(
    points: Float[np.ndarray, "n F"],
    metric: Float[np.ndarray, "n F F"] | None = None,
    others: Float[np.ndarray, "m F"] | None = None,
    other_metric: Float[np.ndarray, "m F F"] | None = None,
) -> Float[np.ndarray, "n m"]:
    r"""All squared distances, Euclidean or, where a metric is given, Mahalanobis, between points or to others.

    With metrics on both sides the distance is $\frac12 (x - y)^T (C_x^{-1} + C_y^{-1}) (x - y)$; with one on one side
    alone, $(x - y)^T C^{-1} (x - y)$. Source: Singer and Coifman, Appl. Comput. Harmon. Anal. 25, 226 (2008),
    equation 3.
    """
    alike = others is None
    second, other_metric = (points, metric) if others is None else (others, other_metric)
    centre = second.mean(axis=0)  # differences of large squares lose digits: far from the origin, all of them
    points, second = points - centre, second - centre
    sides = []
    if metric is not None:
        sides.append(_one_sided(points, metric, second))
    if other_metric is not None:
        sides.append(sides[0].T if alike else _one_sided(second, other_metric, points).T)
    if not sides:
        sides = [np.sum(points**2, axis=1)[:, None] + np.sum(second**2, axis=1) - 2 * points @ second.T]
    return np.maximum(sum(sides[1:], sides[0]) / len(sides), 0.0)


def _one_sided(points: np.ndarray, metric: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared distances `(n, m)` in the metrics of the points alone, as one product of matrices."""
    moved = np.einsum("nij,nj->ni", metric, points)
    own = np.sum(points * moved, axis=1)
    products = np.einsum("mi,mj->mij", others, others).reshape(len(others), -1)
    return metric.reshape(len(metric), -1) @ products.T - 2 * moved @ others.T + own[:, None]
