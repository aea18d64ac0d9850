r"""Geometric harmonics: functions known on points, extended beyond them as smoothly as the points allow.

The eigenvectors of a positive kernel on the points, $K \phi_k = \lambda_k \phi_k$, extend to everywhere,
$\Psi_k(x) = \lambda_k^{-1} \sum_j k(x, x_j) w_j \phi_{kj}$, and oscillate the faster the smaller λ_k is. A function is
extended as the sum of those with λ_k ≥ δ λ_0. Source: Coifman and Lafon, Appl. Comput. Harmon. Anal. 21, 31 (2006).
"""

from dataclasses import dataclass, replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.linalg import eigh, lstsq
from scipy.spatial import KDTree

from micromacro.diffusion_maps.kernel import squared_distances
from micromacro.errors import InputError

CANDIDATES = 14
FOLDS = 5
HELD_OUT = 200  # points whose error decides on a bandwidth, at least, unless all folds have had their turn
NEIGHBOURS = 8
RARE = 0.99  # quantile of the distances to neighbours: an outlier does not lend its surroundings support

ROUNDING = 1 + 1e-6  # so that the farthest point of a cell is in it


@dataclass(frozen=True)
class HarmonicsSettings:
    r"""How a function is extended.

    **Arguments:**

    - `bandwidth`: ε of the kernel $\exp(-|x - y|^2 / 4 \varepsilon)$; `None` for the one of least held-out error.
    - `delta`: δ; harmonics of eigenvalues below δ times the largest are left out. The extension may grow like
      $1/\sqrt \delta$ off the points.
    - `landmarks`: of more points than these, so many drawn at random carry the kernel; all decide on the coefficients.
    - `periods`: of each coordinate of the points, infinite for those that are not periodic; `None` for none.
    - `seed`: of what is held out and of the landmarks.
    """

    bandwidth: float | None = None
    delta: float = 1e-6
    landmarks: int = 1000
    periods: tuple[float, ...] | None = None
    seed: int = 0


class GeometricHarmonics(eqx.Module):
    r"""The extension $f(x) = \bar f + \sum_j k(x, x_j) c_j$, infinitely often differentiable; for double precision.

    Away from the points it returns to the mean of the values: what `support` denies is no prediction.

    **Arguments:**

    - `points`: that carry the kernel `(n, E)`, periodic coordinates as points of circles; `bandwidth`: ε.
    - `mean`: of the values `(m,)`; `coefficients`: $c_j$, `(n, m)`.
    - `reach`: distance from each point up to which it lends support `(n,)`.
    - `error`: rms error on held-out points, relative to the deviation of the values `(m,)`.
    - `kept`: number of harmonics; `periods`: as in the settings.
    """

    points: Float[Array, "n E"]
    bandwidth: float
    mean: Float[Array, "m"]
    coefficients: Float[Array, "n m"]
    reach: Float[Array, "n"]
    error: Float[Array, "m"]
    kept: int = eqx.field(static=True)
    periods: tuple[float, ...] | None = eqx.field(static=True)

    def __call__(self, point: Float[Array, "F"]) -> Float[Array, "m"]:
        """The function at one point."""
        return self.mean + jnp.exp(-self._squares(point) / (4 * self.bandwidth)) @ self.coefficients

    def support(self, point: Float[Array, "F"]) -> Bool[Array, ""]:
        """Whether a point lies within reach of the data: about as close as they are to their own neighbours."""
        return jnp.any(self._squares(point) <= self.reach**2)

    def _squares(self, point: Float[Array, "F"]) -> Float[Array, "n"]:
        return jnp.sum((on_circles(point, self.periods) - self.points) ** 2, axis=1)


def fit_harmonics(
    points: Float[np.ndarray, "n F"],
    values: Float[np.ndarray, "n m"],
    settings: HarmonicsSettings = HarmonicsSettings(),
    weight: Float[np.ndarray, "n"] | None = None,
) -> GeometricHarmonics:
    """The extension of values on points, with the measure `weight`, equal for all points where left out.

    A single kernel serves all coordinates: bring them to comparable units first. Time grows with the cube of the number
    of landmarks, memory with points times landmarks.

    **Raises:** `InputError` for fewer than ten points of positive weight, numbers that are not finite, a δ that is not
    between 0 and 1, a bandwidth that is not positive, periods that are not one a coordinate.
    """
    _refuse(points, values, settings, weight)
    weight = np.ones(len(points)) if weight is None else weight
    counted = weight > 0
    data = _Data(np.asarray(on_circles(points[counted], settings.periods)), values[counted], weight[counted])
    bandwidths = _bandwidths(data.points) if settings.bandwidth is None else np.array([settings.bandwidth])
    held_out = [_held_out_error(data, float(bandwidth), settings) for bandwidth in bandwidths]
    best = int(np.argmin([np.mean(error**2) for error in held_out]))
    found = _expand(data, float(bandwidths[best]), settings)
    return GeometricHarmonics(
        points=jnp.asarray(found.landmarks),
        bandwidth=float(bandwidths[best]),
        mean=jnp.asarray(found.mean),
        coefficients=jnp.asarray(found.coefficients),
        reach=jnp.asarray(_reach(data.points, found.landmarks)),
        error=jnp.asarray(held_out[best]),
        kept=found.kept,
        periods=settings.periods,
    )


def on_circles(points, periods: tuple[float, ...] | None) -> Array:
    """Points `(..., F)` with periodic coordinates replaced, in the end, by the cosines and sines of their circles.

    The circle has the period as its circumference, so that small distances are kept.
    """
    points = jnp.asarray(points)
    if periods is None:
        return points
    lines = np.flatnonzero(~np.isfinite(periods))
    circles = np.flatnonzero(np.isfinite(periods))
    radius = np.asarray(periods)[circles] / (2 * np.pi)
    angle = points[..., circles] / radius
    return jnp.concatenate([points[..., lines], radius * jnp.cos(angle), radius * jnp.sin(angle)], axis=-1)


@dataclass(frozen=True, eq=False)
class _Data:
    points: np.ndarray
    values: np.ndarray
    weight: np.ndarray

    def rows(self, rows: np.ndarray) -> "_Data":
        return replace(self, points=self.points[rows], values=self.values[rows], weight=self.weight[rows])


@dataclass(frozen=True, eq=False)
class _Expansion:
    landmarks: np.ndarray
    mean: np.ndarray
    coefficients: np.ndarray
    kept: int


def _expand(data: _Data, bandwidth: float, settings: HarmonicsSettings) -> _Expansion:
    """The harmonics of the landmarks, and the weighted least squares of the values in them.

    Where every point is a landmark, that is the orthogonal projection of Coifman and Lafon.
    """
    rng = np.random.default_rng(settings.seed)
    count = min(settings.landmarks, len(data.points))
    chosen = np.sort(rng.choice(len(data.points), count, replace=False))
    landmarks = data.points[chosen]
    root = np.sqrt(data.weight[chosen] / data.weight[chosen].mean())
    kernel = np.exp(-squared_distances(landmarks) / (4 * bandwidth))
    eigenvalues, vectors = eigh(root[:, None] * kernel * root)
    kept = eigenvalues >= settings.delta * eigenvalues[-1]
    harmonics = root[:, None] * vectors[:, kept] / eigenvalues[kept]
    mean = np.average(data.values, axis=0, weights=data.weight)
    scale = np.sqrt(data.weight)[:, None]
    at_points = np.exp(-squared_distances(data.points, None, landmarks) / (4 * bandwidth)) @ harmonics
    solved = lstsq(scale * at_points, scale * (data.values - mean), lapack_driver="gelsy")
    amplitudes = solved[0]  # pyright: ignore[reportOptionalSubscript]
    return _Expansion(landmarks, mean, harmonics @ amplitudes, int(kept.sum()))


def _held_out_error(data: _Data, bandwidth: float, settings: HarmonicsSettings) -> np.ndarray:
    """Relative rms error of each value on points that the expansion was not given."""
    n = len(data.points)
    fold = np.random.default_rng(settings.seed).permutation(n) % FOLDS
    residuals, weights = [], []
    for number in range(min(FOLDS, max(1, -(-HELD_OUT * FOLDS // n)))):
        held_out = data.rows(np.flatnonzero(fold == number))
        found = _expand(data.rows(np.flatnonzero(fold != number)), bandwidth, settings)
        kernel = np.exp(-squared_distances(held_out.points, None, found.landmarks) / (4 * bandwidth))
        residuals.append(held_out.values - found.mean - kernel @ found.coefficients)
        weights.append(held_out.weight)
    error = np.average(np.concatenate(residuals) ** 2, axis=0, weights=np.concatenate(weights))
    spread = np.average((data.values - np.average(data.values, axis=0, weights=data.weight)) ** 2, 0, data.weight)
    return np.sqrt(error / np.where(spread > 0, spread, 1.0))


def _bandwidths(points: np.ndarray) -> np.ndarray:
    """Candidates from the distance between neighbours to the diameter, squared."""
    neighbour = np.median(KDTree(points).query(points, 3)[0][:, -1])
    diameter = np.linalg.norm(np.ptp(points, axis=0))
    return np.geomspace(max(neighbour, 1e-6 * diameter) ** 2, diameter**2, CANDIDATES)


def _reach(points: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The distance of each landmark to a few neighbours, and as far as the points that are nearest to it."""
    to_neighbours = KDTree(points).query(landmarks, min(NEIGHBOURS + 1, len(points)))[0][:, -1]
    distance, nearest = KDTree(landmarks).query(points)
    cell = np.zeros(len(landmarks))
    np.maximum.at(cell, nearest, distance)
    return np.maximum(np.minimum(to_neighbours, np.quantile(to_neighbours, RARE)), ROUNDING * cell)


def _refuse(points: np.ndarray, values: np.ndarray, settings: HarmonicsSettings, weight: np.ndarray | None) -> None:
    count = len(points) if weight is None else int(np.sum(weight > 0))
    if count < 2 * FOLDS:
        raise InputError("points", f"be {2 * FOLDS} or more, of positive weight", count)
    if not (np.isfinite(points).all() and np.isfinite(values).all()):
        raise InputError("points and values", "be finite", "some that are not")
    if not 0 < settings.delta < 1:
        raise InputError("delta", "lie between 0 and 1", settings.delta)
    if settings.bandwidth is not None and not settings.bandwidth > 0:
        raise InputError("bandwidth", "be positive", settings.bandwidth)
    if settings.periods is not None and len(settings.periods) != points.shape[1]:
        raise InputError("periods", f"be {points.shape[1]} numbers, one a coordinate", len(settings.periods))
