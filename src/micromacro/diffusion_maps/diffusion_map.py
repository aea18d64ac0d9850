r"""Diffusion maps of weighted points.

With weights $w_i \propto \pi(x_i) / \rho(x_i)$ of samples of density ρ, those of MBAR among them, the random walk

$P_{ij} \propto K_{ij} w_j^{1-\alpha} q_j^{-\alpha}, \quad q_i = \sum_j K_{ij},$

has the generator $\Delta + 2(1 - \alpha) \nabla \log \pi \cdot \nabla$ as ε → 0, whatever ρ was: the Laplacian of the
manifold for α = 1, overdamped dynamics in π for α = 1/2. With equal weights it is the map of Coifman and Lafon, Appl.
Comput. Harmon. Anal. 21, 5 (2006); with α = 1/2 the target-measure map of Banisch, Trstanova, Bittracher, Klus and
Koltai, Appl. Comput. Harmon. Anal. 48, 242 (2020).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh

from micromacro.diffusion_maps.kernel import Kernel, squared_distances


@dataclass(frozen=True)
class DiffusionMapSettings:
    """How a diffusion map is made.

    **Arguments:**

    - `components`: eigenvectors besides the constant one.
    - `alpha`: density normalisation, from 0 to 1.
    - `bandwidth`: ε of the kernel; `None` for the scaling of the kernel's sum.
    """

    components: int = 10
    alpha: float = 0.5
    bandwidth: float | None = None


@dataclass(frozen=True, eq=False)
class DiffusionMap:
    r"""The slowest modes of the random walk on n points.

    **Arguments:**

    - `points`: `(n, F)`.
    - `kernel`: between them.
    - `log_normalisation`: of the columns `(n,)`: $P_{ij} \propto K_{ij} e^{l_j}$.
    - `eigenvalues`: of P `(k,)`, descending, the constant mode left out.
    - `rates`: of the generator `(k,)`, ascending, in units of 1/ε.
    - `eigenvectors`: `(n, k)`, of unit mean square in the stationary measure.
    - `stationary`: measure of the random walk `(n,)`; sums to one.
    """

    points: Float[np.ndarray, "n F"]
    kernel: Kernel
    log_normalisation: Float[np.ndarray, "n"]
    eigenvalues: Float[np.ndarray, "k"]
    rates: Float[np.ndarray, "k"]
    eigenvectors: Float[np.ndarray, "n k"]
    stationary: Float[np.ndarray, "n"]


def fit_diffusion_map(
    points: Float[np.ndarray, "n F"],
    weight: Float[np.ndarray, "n"] | None = None,
    settings: DiffusionMapSettings = DiffusionMapSettings(),
    *,
    metric: Float[np.ndarray, "n F F"] | None = None,
) -> DiffusionMap:
    """The diffusion map of points with their weights in the target measure, equal ones where left out."""
    points = np.asarray(points, float)
    squares = squared_distances(points, metric)
    bandwidth = settings.bandwidth or float(np.median(squares)) / 20
    matrix = np.exp(-squares / (4 * bandwidth))
    weight = np.ones(len(points)) if weight is None else np.asarray(weight) / np.mean(weight)
    density = matrix.sum(axis=1)
    log_normalisation = (1 - settings.alpha) * np.log(weight) - settings.alpha * np.log(density)
    factor = np.exp(log_normalisation - log_normalisation.max())
    symmetric = factor[:, None] * matrix * factor
    degree = symmetric.sum(axis=1)
    scaled = symmetric / np.sqrt(degree[:, None] * degree)
    count = min(settings.components + 1, len(points))
    values, vectors = eigh(scaled, subset_by_index=[len(points) - count, len(points) - 1])
    stationary = degree / degree.sum()
    modes = vectors[:, ::-1][:, 1:] / np.sqrt(stationary)[:, None]
    signs = np.sign(stationary @ modes**3)
    eigenvalues = values[::-1][1:]
    return DiffusionMap(
        points=points,
        kernel=Kernel(bandwidth, None, metric),
        log_normalisation=log_normalisation,
        eigenvalues=eigenvalues,
        rates=-np.log(np.maximum(eigenvalues, 1e-300)) / bandwidth,
        eigenvectors=modes * np.where(signs == 0, 1.0, signs),
        stationary=stationary,
    )
