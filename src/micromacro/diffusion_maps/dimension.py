r"""Intrinsic dimension of a cloud of points: from how the kernel's sum scales, and from distances to neighbours."""

import numpy as np
from jaxtyping import Float
from sklearn.neighbors import NearestNeighbors

from micromacro.diffusion_maps.kernel import squared_distances
from micromacro.errors import InputError

POINTS = 3000
"""Points drawn for the kernel's sum where there are more: all pairs of them are held in memory."""


def kernel_sum_dimension(
    points: Float[np.ndarray, "n F"], bandwidth: float, metric: Float[np.ndarray, "n F F"] | None = None
) -> float:
    r"""Twice the slope of the kernel's sum, $d = 2\, d \log S / d \log \varepsilon$.

    $d = 2 \sum_{i \ne j} K_{ij} d_{ij}^2 / (4 \varepsilon) / \sum_{i \ne j} K_{ij}$.
    S is the sum of $K_{ij} = \exp(-d_{ij}^2 / 4 \varepsilon)$ over pairs of points `(n, F)`; it grows as
    $\varepsilon^{d/2}$ while $\sqrt\varepsilon$ lies between the spacing of the points and the size of the cloud. A
    point's kernel with itself does not scale and is left out. Weights do not enter: the dimension is the cloud's. Of
    more than 3,000 points so many are drawn, always the same.

    Source: Coifman, Shkolnisky, Sigworth and Singer, IEEE Trans. Image Process. 17, 1891 (2008), section IV.
    """
    if not bandwidth > 0:
        raise InputError("bandwidth", "be positive", bandwidth)
    if len(points) > POINTS:
        kept = np.random.default_rng(0).choice(len(points), POINTS, replace=False)
        points, metric = points[kept], None if metric is None else metric[kept]
    exponent = squared_distances(points, metric) / (4 * bandwidth)
    kernel = np.exp(-exponent)
    np.fill_diagonal(kernel, 0.0)
    return float(2 * np.sum(kernel * exponent) / np.sum(kernel))


def neighbour_dimension(points: Float[np.ndarray, "n F"], neighbours: int = 20) -> float:
    r"""Inverse mean logarithm of distances to neighbours of points `(n, F)`, over all of them.

    $d = \left[ \frac{1}{n (k - 1)} \sum_i \sum_{j < k} \log(T_{ik} / T_{ij}) \right]^{-1}$.
    $T_{ij}$ is the distance of point i to its j-th of `neighbours` k; points at no distance count as one. The inverses
    of the local estimates are averaged, not the estimates, which would overweigh the smallest neighbourhoods.

    Source: Levina and Bickel, Adv. Neural Inf. Process. Syst. 17 (2005); the average is that of MacKay and Ghahramani,
    Comments on "Maximum likelihood estimation of intrinsic dimension" (2005).
    """
    distinct = np.unique(points, axis=0)
    if not 1 < neighbours < len(distinct):
        raise InputError("neighbours", f"lie between 1 and the {len(distinct)} distinct points", neighbours)
    distances, _ = NearestNeighbors(n_neighbors=neighbours).fit(distinct).kneighbors()
    logs = np.log(distances)
    inverse = np.sum(logs[:, -1:] - logs[:, :-1], axis=1) / (neighbours - 1)
    return float(1 / np.mean(inverse))
