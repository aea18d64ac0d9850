r"""Diffusion maps in the metric of the noise, by way of landmarks that carry it.

The metric is known at the points alone. A kernel that takes it from landmarks only, $A_{ij} = \exp(-(x_i - y_j)^T
C_j^{-1} (x_i - y_j) / 4 \varepsilon)$, is defined at any x; the walk goes from a point to a landmark and back, with

$B_{ij} = a_i A_{ij} c_j, \quad a_i = w_i^{1-\alpha} \rho_i^{-\alpha}, \quad c_j = \pi_j^{1-\alpha} / \ell_j,$

ρ the density of the points, ℓ that of the landmarks, π the target measure, all by the kernel itself. As ε → 0 it has
the generator $2 (\Delta + 2 (1 - \alpha) \nabla \log \pi \cdot \nabla)$ per ε in the hidden space, and its modes are
the singular vectors of B, normalised:

$\psi_k(x) = \sigma_k^{-1} \sum_j P(x, j) \phi_{kj}, \quad P(x, j) = A(x, j) c_j / \sum_l A(x, l) c_l,$

at the points of the map and everywhere else alike. What curvature moves on the way out is moved back on the way home.

Source: Kushnir, Haddad and Coifman, Appl. Comput. Harmon. Anal. 32, 280 (2012); Talmon and Coifman, Proc. Natl. Acad.
Sci. 110, 12535 (2013); landmarks: Long and Ferguson, Appl. Comput. Harmon. Anal. 47, 190 (2019).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh

from micromacro.diffusion_maps.bandwidth import kernel_scaling
from micromacro.diffusion_maps.settings import checked_weight
from micromacro.diffusion_maps.spread import joining_bandwidth, spread_landmarks
from micromacro.errors import InputError

TINY = 1e-300


@dataclass(frozen=True)
class MahalanobisSettings:
    """How a diffusion map in the metric of the noise is made.

    **Arguments:**

    - `components`: eigenvectors besides the constant one.
    - `alpha`: density normalisation, from 0 to 1.
    - `bandwidth`: ε, in squared units of the noise of unit time; `None` for the scaling of the kernel's sum.
    - `landmarks`: at most; memory is 24 bytes for each point and landmark.
    """

    components: int = 10
    alpha: float = 0.5
    bandwidth: float | None = None
    landmarks: int = 800


@dataclass(frozen=True, eq=False)
class MahalanobisMap:
    r"""The slowest modes of the walk between n points and m landmarks.

    **Arguments:**

    - `points`: `(n, F)`.
    - `landmarks`: `(m, F)`; `metric`: of each `(m, F, F)`.
    - `bandwidth`: ε.
    - `log_normalisation`: of the columns `(m,)`, log c.
    - `eigenvalues`: σ² of the walk there and back `(k,)`, descending, the constant mode left out.
    - `rates`: of the generator `(k,)`, ascending, in inverse units of time: the metric is that of the noise.
    - `eigenvectors`: at the points `(n, k)`, of unit mean square in the stationary measure.
    - `landmark_modes`: φ `(m, k)`.
    - `stationary`: measure of the points `(n,)`; sums to one.
    - `dimension`: of the points, by the scaling of the kernel's sum.
    """

    points: Float[np.ndarray, "n F"]
    landmarks: Float[np.ndarray, "m F"]
    metric: Float[np.ndarray, "m F F"]
    bandwidth: float
    log_normalisation: Float[np.ndarray, "m"]
    eigenvalues: Float[np.ndarray, "k"]
    rates: Float[np.ndarray, "k"]
    eigenvectors: Float[np.ndarray, "n k"]
    landmark_modes: Float[np.ndarray, "m k"]
    stationary: Float[np.ndarray, "n"]
    dimension: float


def fit_mahalanobis_map(
    points: Float[np.ndarray, "n F"],
    metric: Float[np.ndarray, "n F F"],
    weight: Float[np.ndarray, "n"] | None = None,
    settings: MahalanobisSettings = MahalanobisSettings(),
) -> MahalanobisMap:
    """The diffusion map of points in the metric of their noise, with weights in the target measure.

    **Arguments:**

    - `points`: `(n, F)`; `metric`: inverse covariance of the noise at each `(n, F, F)`, as of `metric_of`.
    - `weight`: of each in the target measure, as of MBAR; equal ones where left out.

    **Raises:** `InputError` for arrays that do not match, for weights that are no measure, and for settings out of
    range.
    """
    points, weight = np.asarray(points, float), checked_weight(weight, len(points), 2)
    _check(points, metric, settings)
    chosen, squares = spread_landmarks(points, metric, settings.landmarks)
    scaling = kernel_scaling(squares)
    bandwidth = settings.bandwidth or max(scaling.bandwidth, joining_bandwidth(squares[chosen]))
    kernel = np.exp(-squares / (4 * bandwidth))
    rows, columns = _normalisation(kernel, weight, settings.alpha)
    count = min(settings.components, len(chosen) - 1)
    singular, modes, stationary = _modes(kernel, rows, columns, count)
    steps = np.exp(-(squares - squares.min(axis=1, keepdims=True)) / (4 * bandwidth)) * columns
    vectors = (steps / steps.sum(axis=1, keepdims=True)) @ (modes / singular)
    signs = np.where(stationary @ vectors**3 < 0, -1.0, 1.0)
    return MahalanobisMap(
        points=points,
        landmarks=points[chosen],
        metric=np.asarray(metric, float)[chosen],
        bandwidth=float(bandwidth),
        log_normalisation=np.log(columns),
        eigenvalues=singular**2,
        rates=-np.log(np.maximum(singular, TINY)) / bandwidth,
        eigenvectors=vectors * signs,
        landmark_modes=modes * signs,
        stationary=stationary,
        dimension=scaling.dimension,
    )


def _check(points: np.ndarray, metric: np.ndarray, settings: MahalanobisSettings) -> None:
    """Refuse what has no map."""
    count, size = points.shape
    if metric.shape != (count, size, size):
        raise InputError("metric", f"be of shape {(count, size, size)}, one matrix for each point", metric.shape)
    if not (np.all(np.isfinite(points)) and np.all(np.isfinite(metric))):
        raise InputError("points and metric", "be finite", "some that are not")
    if not 0 <= settings.alpha <= 1:
        raise InputError("alpha", "be from 0 to 1", settings.alpha)
    if settings.bandwidth is not None and not settings.bandwidth > 0:
        raise InputError("bandwidth", "be positive, or None", settings.bandwidth)
    if not (settings.components >= 1 and settings.landmarks > settings.components):
        raise InputError("landmarks", "exceed components, at least 1", (settings.landmarks, settings.components))


def _normalisation(kernel: np.ndarray, weight: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The factors a of the points and c of the landmarks, up to one constant each."""
    of_landmarks = np.maximum(kernel.sum(axis=1), TINY)  # density ℓ, at the points
    of_points = kernel.sum(axis=0)  # density ρ, at the landmarks
    rows = weight ** (1 - alpha) * np.maximum(kernel @ of_points / of_landmarks, TINY) ** -alpha
    columns = np.maximum(weight @ kernel, TINY) ** (1 - alpha) * of_points / (of_landmarks @ kernel)
    return rows / rows.max(), columns / columns.max()


def _modes(
    kernel: np.ndarray, rows: np.ndarray, columns: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular values below one, modes at the landmarks and the stationary measure of the points."""
    joint = rows[:, None] * kernel * columns
    degree, weight = joint.sum(axis=1), np.maximum(joint.sum(axis=0), TINY)
    scaled = joint / np.sqrt(np.maximum(degree, TINY)[:, None] * weight)
    total = len(weight)
    values, vectors = eigh(scaled.T @ scaled, subset_by_index=[total - count - 1, total - 1])
    modes = vectors[:, ::-1][:, 1:] / np.sqrt(weight / weight.sum())[:, None]
    return np.sqrt(np.maximum(values[::-1][1:], TINY)), modes, degree / degree.sum()
