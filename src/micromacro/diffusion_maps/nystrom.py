r"""Diffusion coordinates of points that were not in the map, by Nyström's formula, differentiable.

All are averages over the points of the map, $\psi(x) = \sum_j P(x, j) v_j$ with the walk's own probabilities P from x
to them. Far from the data the average is over the nearest of them alone: coordinates stay within the range of v, and
their gradient vanishes.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import solve

from micromacro.diffusion_maps.diffusion_map import DiffusionMap
from micromacro.diffusion_maps.extension import LEAST_DIVISOR
from micromacro.diffusion_maps.mahalanobis import MahalanobisMap
from micromacro.diffusion_maps.spread import spread_landmarks
from micromacro.errors import InputError

BATCH = 256  # points at once
RIDGE = 1e-3  # of the values at few landmarks, in units of the mean square of a probability
SHARPNESS = 0.25  # bandwidth over which ρ is averaged, in units of ε


class NystromExtension(eqx.Module):
    r"""$\psi(x) = \sum_j P(x, j) v_j$ with $P(x, j) \propto e^{l_j - d^2(x, j) / 4 \varepsilon}$.

    Distances are Euclidean or in the metric of each point j, $(x - x_j)^T M_j (x - x_j)$.

    **Arguments:**

    - `points`: of the map, or its landmarks `(n, F)`; `metric`: of each, `(n, F, F)`, or `None`.
    - `bandwidth`: ε; `log_normalisation`: of the columns `(n,)`.
    - `values`: v `(n, k)`.
    """

    points: Float[Array, "n F"]
    metric: Float[Array, "n F F"] | None
    bandwidth: float
    log_normalisation: Float[Array, "n"]
    values: Float[Array, "n k"]

    def average(self, features: Float[Array, "F"]) -> tuple[Float[Array, "n"], Float[Array, "k"]]:
        """Probabilities P of the walk from one point to those of the map, and what divides the averages: one."""
        delta = features - self.points
        moved = delta if self.metric is None else jnp.einsum("nij,nj->ni", self.metric, delta)
        squares = jnp.sum(delta * moved, axis=1)
        chances = jax.nn.softmax(self.log_normalisation - squares / (4 * self.bandwidth))
        return chances, jnp.ones(self.values.shape[1])

    def __call__(self, features: Float[Array, "F"]) -> Float[Array, "k"]:
        """The diffusion coordinates of one point."""
        return self.average(features)[0] @ self.values


class VariableBandwidthExtension(eqx.Module):
    r"""$\psi(x) = \sum_j P(x, j) \psi_j / (1 - \rho(x)^2 (1 - \lambda))$, the kernel as wide as the data is sparse.

    ρ(x) is the smooth average of ρ over the points of the map, $\log \rho(x) = \sum_j s_j(x) \log \rho_j$ with $s_j
    \propto e^{-|x - x_j|^2 / 4 \varepsilon' \rho_j^2}$: an error of it moves numerator and denominator alike and
    drops out to first order. Source of the kernel: Berry and Harlim, Appl. Comput. Harmon. Anal. 40, 68 (2016).

    **Arguments:**

    - `points`: `(n, F)`; `log_scale`: log ρ of each `(n,)`.
    - `bandwidth`: ε; `log_normalisation`: of the columns `(n,)`.
    - `decay`: 1 - λ `(k,)`.
    - `values`: ψ `(n, k)`.
    """

    points: Float[Array, "n F"]
    log_scale: Float[Array, "n"]
    bandwidth: float
    log_normalisation: Float[Array, "n"]
    decay: Float[Array, "k"]
    values: Float[Array, "n k"]

    def average(self, features: Float[Array, "F"]) -> tuple[Float[Array, "n"], Float[Array, "k"]]:
        """Probabilities P of the walk from one point to those of the map, and what divides the averages."""
        reach = jnp.sum((features - self.points) ** 2, axis=1) / (4 * self.bandwidth * jnp.exp(self.log_scale))
        log_scale = jax.nn.softmax(-reach / (SHARPNESS * jnp.exp(self.log_scale))) @ self.log_scale
        chances = jax.nn.softmax(self.log_normalisation - reach * jnp.exp(-log_scale))
        return chances, _bounded(1 - jnp.exp(2 * log_scale) * self.decay)

    def __call__(self, features: Float[Array, "F"]) -> Float[Array, "k"]:
        """The diffusion coordinates of one point."""
        chances, scale = self.average(features)
        return chances @ self.values / scale


Extension = NystromExtension | VariableBandwidthExtension


def nystrom_extension(found: DiffusionMap | MahalanobisMap, components: int, landmarks: int | None = None) -> Extension:
    """The extension of the first components of a diffusion map.

    That of a map in the metric of the noise is exact at its points, as is that of a map of one bandwidth.

    **Arguments:**

    - `landmarks`: how many points a call sums over at most; `None` for all. The values at them are fitted to the
        eigenvectors at all points; `extension_error` tells what that costs.

    **Raises:** `InputError` for components that the map does not have, and for no landmarks.
    """
    if not 1 <= components <= found.eigenvectors.shape[1]:
        raise InputError("components", f"be from 1 to the map's {found.eigenvectors.shape[1]}", components)
    if landmarks is not None and landmarks < 1:
        raise InputError("landmarks", "be at least 1, or None", landmarks)
    whole = _mahalanobis(found, components) if isinstance(found, MahalanobisMap) else _symmetric(found, components)
    if landmarks is None or landmarks >= len(whole.points):
        return whole
    return _on_landmarks(whole, found, landmarks)


def evaluate(extension: Extension, features: Float[np.ndarray, "n F"]) -> Float[np.ndarray, "n k"]:
    """The diffusion coordinates of many points, in batches that bound the memory."""
    return np.asarray(jax.lax.map(extension, jnp.asarray(features, float), batch_size=BATCH))


def extension_error(extension: Extension, found: DiffusionMap | MahalanobisMap) -> Float[np.ndarray, "k"]:
    """Root mean square difference of extension and eigenvectors at the points of the map, in its stationary measure.

    In units of the standard deviation of each, one by definition.
    """
    difference = evaluate(extension, found.points) - found.eigenvectors[:, : extension.values.shape[1]]
    return np.sqrt(found.stationary @ difference**2)


def _bounded(divisor: Float[Array, "k"]) -> Float[Array, "k"]:
    """The divisor itself down to the least one; below, a fall to half of that with two continuous derivatives."""
    short = jnp.minimum(divisor - LEAST_DIVISOR, 0.0) / (LEAST_DIVISOR / 2)
    return jnp.where(divisor > LEAST_DIVISOR, divisor, LEAST_DIVISOR / 2 * (1 + 1 / (1 - short + short**2)))


def _mahalanobis(found: MahalanobisMap, components: int) -> NystromExtension:
    return NystromExtension(
        points=jnp.asarray(found.landmarks),
        metric=jnp.asarray(found.metric),
        bandwidth=found.bandwidth,
        log_normalisation=jnp.asarray(found.log_normalisation),
        values=jnp.asarray(found.landmark_modes[:, :components] / np.sqrt(found.eigenvalues[:components])),
    )


def _symmetric(found: DiffusionMap, components: int) -> Extension:
    visited = np.isfinite(found.log_normalisation)
    points, log_normalisation = jnp.asarray(found.points[visited]), jnp.asarray(found.log_normalisation[visited])
    vectors, values = found.eigenvectors[visited, :components], found.eigenvalues[:components]
    kernel = found.kernel
    if kernel.scale is not None:
        return VariableBandwidthExtension(
            points=points,
            log_scale=jnp.log(jnp.asarray(kernel.scale[visited])),
            bandwidth=kernel.bandwidth,
            log_normalisation=log_normalisation,
            decay=jnp.asarray(1 - values),
            values=jnp.asarray(vectors),
        )
    metric = None if kernel.metric is None else jnp.asarray(kernel.metric[visited])
    return NystromExtension(points, metric, kernel.bandwidth, log_normalisation, jnp.asarray(vectors / values))


def _on_landmarks(whole: Extension, found: DiffusionMap | MahalanobisMap, count: int) -> Extension:
    """The extension with fewer points, each standing for those nearest to it, and values fitted to the eigenvectors."""
    points = np.asarray(whole.points)
    metric = whole.metric if isinstance(whole, NystromExtension) else None
    euclidean = np.broadcast_to(np.eye(points.shape[1]), (len(points), *2 * points.shape[1:]))
    chosen, squares = spread_landmarks(points, euclidean if metric is None else np.asarray(metric), count)
    share = np.exp(np.asarray(whole.log_normalisation) - np.max(whole.log_normalisation))
    share = np.bincount(np.argmin(squares, axis=1), share, len(chosen))

    def few(leaf: Array | float) -> Array | float:
        return leaf[chosen] if isinstance(leaf, Array) and len(leaf) == len(points) else leaf

    part = eqx.tree_at(lambda one: one.log_normalisation, jax.tree.map(few, whole), jnp.log(jnp.asarray(share)))
    chances, scale = jax.lax.map(part.average, jnp.asarray(found.points), batch_size=BATCH)
    chances, start = np.asarray(chances), np.asarray(part.values)
    misfit = found.eigenvectors[:, : start.shape[1]] * np.asarray(scale) - chances @ start
    normal = chances.T @ chances
    normal += RIDGE * np.trace(normal) / len(normal) * np.eye(len(normal))
    better = start + solve(normal, chances.T @ misfit, assume_a="pos")
    return eqx.tree_at(lambda one: one.values, part, jnp.asarray(better))
