r"""Diffusion maps of weighted points.

With weights $w_i \propto \pi(x_i) / \rho(x_i)$ of samples of density ρ, those of MBAR among them, the random walk

$P_{ij} \propto K_{ij} w_j^{1-\alpha} q_j^{-\alpha}, \quad q_i = \sum_j K_{ij},$

has the generator $\Delta + 2(1 - \alpha) \nabla \log \pi \cdot \nabla$ as ε → 0, whatever ρ was: the Laplacian of the
manifold for α = 1, overdamped dynamics in π for α = 1/2. With equal weights it is the map of Coifman and Lafon, Appl.
Comput. Harmon. Anal. 21, 5 (2006); with α = 1/2 the target-measure map of Banisch, Trstanova, Bittracher, Klus and
Koltai, Appl. Comput. Harmon. Anal. 48, 242 (2020). A bandwidth that varies from point to point keeps that limit, see
`micromacro.diffusion_maps.variable`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from micromacro.diffusion_maps.extension import extended_modes, extended_scale
from micromacro.diffusion_maps.graph import KernelGraph, kernel_graph, widened
from micromacro.diffusion_maps.kernel import Kernel
from micromacro.diffusion_maps.landmarks import Landmarks, chosen_landmarks, near_one_another
from micromacro.diffusion_maps.settings import DiffusionMapSettings, checked_points, checked_weight
from micromacro.diffusion_maps.walk import Columns, pieces, slowest_modes
from micromacro.errors import InputError

DEFAULTS = DiffusionMapSettings()
STRAYS = 0.01  # share of points that may lie apart from all others; they follow, and carry nothing
LOOSE = 1e-6  # normalised probability of a step below which it crosses a gap between samples and is no diffusion
DOUBLINGS = 5  # of an automatic bandwidth at which points fall into pieces
NO_STEP = 1e-15  # the same, below which double precision sees no step at all


@dataclass(frozen=True, eq=False)
class DiffusionMap:
    r"""The slowest modes of the random walk on n points.

    **Arguments:**

    - `points`: `(n, F)`.
    - `kernel`: between them.
    - `log_normalisation`: of the columns `(n,)`: $P_{ij} \propto K_{ij} e^{l_j}$; minus infinity for points that the
      walk never visits: those of no weight, those beside the landmarks, and strays.
    - `eigenvalues`: of P `(k,)`, descending, the constant mode left out; with a variable bandwidth of the walk of unit
      time, $\sum_j P_{ij} \psi_j = (1 - \rho_i^2 (1 - \lambda)) \psi_i$.
    - `rates`: of the generator `(k,)`, ascending, $-\log \lambda / \varepsilon$.
    - `eigenvectors`: `(n, k)`, of unit mean square in the stationary measure.
    - `stationary`: measure of the random walk `(n,)`; sums to one.
    - `dimension`: of the manifold, by the scaling of the kernel's sum.
    """

    points: Float[np.ndarray, "n F"]
    kernel: Kernel
    log_normalisation: Float[np.ndarray, "n"]
    eigenvalues: Float[np.ndarray, "k"]
    rates: Float[np.ndarray, "k"]
    eigenvectors: Float[np.ndarray, "n k"]
    stationary: Float[np.ndarray, "n"]
    dimension: float


def fit_diffusion_map(
    points: Float[np.ndarray, "n F"],
    weight: Float[np.ndarray, "n"] | None = None,
    settings: DiffusionMapSettings = DEFAULTS,
    *,
    metric: Float[np.ndarray, "n F F"] | None = None,
) -> DiffusionMap:
    """The diffusion map of points `(n, F)` with their weights `(n,)` in the target measure, equal where left out.

    A point of no weight counts in the density of the samples but is never visited; it gets its coordinates from where
    the walk would go from it, and so do points beside the landmarks, and strays: up to one in a hundred points that
    the kernel connects to no other. An automatic bandwidth at which more points than these fall apart is doubled until
    they do not, at most five times. With α = 1 weights mean nothing, and points of no weight are like any other.

    **Raises:** `InputError` where points, weights or metric are not fit for it, or fall into pieces.
    """
    points = checked_points(points, settings, metric)
    weight = checked_weight(weight, len(points), settings.components + 2)
    log_mass = _log_mass(weight, settings.alpha)
    landmarks = chosen_landmarks(points, log_mass, settings.landmarks, metric=metric)
    if len(landmarks.indices) > settings.dense:
        landmarks = near_one_another(landmarks, points)
    graph = kernel_graph(points[landmarks.indices], settings, _part(metric, landmarks.indices))
    graph, log_normalisation, kept = _connected(graph, landmarks, settings)
    visited, scale = landmarks.indices[kept], _part(graph.kernel.scale, kept)
    matrix = _submatrix(graph.matrix, kept)
    modes = slowest_modes(matrix, Columns(log_normalisation[kept], scale), settings.components)
    found = DiffusionMap(
        points=points[visited],
        kernel=Kernel(graph.kernel.bandwidth, scale, _part(metric, visited)),
        log_normalisation=log_normalisation[kept],
        eigenvalues=modes.eigenvalues,
        rates=-np.log(np.maximum(modes.eigenvalues, 1e-300)) / graph.kernel.bandwidth,
        eigenvectors=modes.vectors,
        stationary=modes.stationary,
        dimension=graph.dimension,
    )
    neighbours = settings.neighbours if len(landmarks.indices) > settings.dense else len(kept)
    return _extended(found, points, metric, visited, neighbours)


def _log_mass(weight: np.ndarray, alpha: float) -> np.ndarray:
    """What each point contributes to its column, (1 - α) log w, `(n,)`."""
    if alpha == 1:
        return np.zeros(len(weight))
    with np.errstate(divide="ignore"):
        return (1 - alpha) * np.log(weight)


def _log_normalisation(graph: KernelGraph, landmarks: Landmarks, alpha: float) -> np.ndarray:
    """Logarithms of the columns' factors `(m,)`; see `micromacro.diffusion_maps.variable` for those of ρ."""
    log_density = np.log(graph.matrix @ landmarks.counts)
    if graph.kernel.scale is None:
        return landmarks.log_mass - alpha * log_density
    log_scale = np.log(graph.kernel.scale)
    log_density = log_density - graph.dimension * log_scale
    return landmarks.log_mass - alpha * log_density - (graph.dimension + 2) / 2 * log_scale


def _connected(
    graph: KernelGraph, landmarks: Landmarks, settings: DiffusionMapSettings
) -> tuple[KernelGraph, np.ndarray, np.ndarray]:
    """A graph whose points hang together but for strays, its columns' logarithms and the points that carry the walk."""
    doublings = DOUBLINGS if settings.bandwidth is None else 0
    log_normalisation = _log_normalisation(graph, landmarks, settings.alpha)
    kept, sizes = _visited(graph.matrix, log_normalisation)
    for _ in range(doublings):
        if len(sizes) == 1:
            break
        graph = widened(graph)
        log_normalisation = _log_normalisation(graph, landmarks, settings.alpha)
        kept, sizes = _visited(graph.matrix, log_normalisation)
    if len(sizes) == 1:
        return graph, log_normalisation, kept
    named = ", ".join(str(size) for size in sizes[:5]) + (", …" if len(sizes) > 5 else "")
    raise InputError(
        "points", "hang together within the reach of the kernel", f"{len(sizes)} pieces of {named} points",
        remedy=f"Let the bandwidth be wider than {graph.kernel.bandwidth:.3g}, or variable, take more neighbours than "
        f"{settings.neighbours}, or make a map of each piece.",
    )  # fmt: skip


def _visited(matrix: np.ndarray | csr_array, log_normalisation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the points that carry the walk, of some weight and no strays, and the sizes of its pieces."""
    kept = np.flatnonzero(np.isfinite(log_normalisation))
    labels, sizes = pieces(_submatrix(matrix, kept), Columns(log_normalisation[kept]), LOOSE)
    if len(sizes) == 1:
        return kept, sizes
    order = np.argsort(sizes, kind="stable")
    strays = order[np.cumsum(sizes[order]) <= STRAYS * len(kept)]
    kept = kept[~np.isin(labels, strays)]
    _, sizes = pieces(_submatrix(matrix, kept), Columns(log_normalisation[kept]), NO_STEP)
    return kept, np.sort(sizes)[::-1]


def _submatrix(matrix: np.ndarray | csr_array, kept: np.ndarray) -> np.ndarray | csr_array:
    """Rows and columns of some points, the matrix itself where these are all."""
    whole = len(kept) == matrix.shape[0]  # pyright: ignore[reportOptionalSubscript]
    return matrix if whole else matrix[kept][:, kept]


def _part(array: np.ndarray | None, kept: np.ndarray) -> np.ndarray | None:
    return None if array is None else array[kept]


def _extended(
    found: DiffusionMap, points: np.ndarray, metric: np.ndarray | None, visited: np.ndarray, neighbours: int
) -> DiffusionMap:
    """The map on all points, in their order, from that on the visited ones `(m,)` among them, in any order."""
    visits = np.zeros(len(points), bool)
    visits[visited] = True
    others = np.flatnonzero(~visits)
    scale, query_scale = found.kernel.scale, None
    if scale is not None:
        query_scale = extended_scale(found.points, found.kernel, points[others], neighbours)
        scale = _spread(len(points), visited, scale, others, query_scale)
    vectors = extended_modes(
        found.points, found.kernel, found.log_normalisation, found.eigenvalues, found.eigenvectors, points[others],
        neighbours, query_scale=query_scale, query_metric=_part(metric, others),
    )  # fmt: skip
    return DiffusionMap(
        points=points,
        kernel=Kernel(found.kernel.bandwidth, scale, metric),
        log_normalisation=_spread(len(points), visited, found.log_normalisation, others, -np.inf),
        eigenvalues=found.eigenvalues,
        rates=found.rates,
        eigenvectors=_spread(len(points), visited, found.eigenvectors, others, vectors),
        stationary=_spread(len(points), visited, found.stationary, others, 0.0),
        dimension=found.dimension,
    )


def _spread(size: int, visited: np.ndarray, values: np.ndarray, others: np.ndarray, rest: np.ndarray | float):
    """Values of the visited points and those of the others, in the order of all."""
    whole = np.empty((size, *values.shape[1:]))
    whole[visited], whole[others] = values, rest
    return whole
