"""From a learned map to a learned coordinate: its components given the scale of the arc length."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.learners.learner import Diagnostics, Learned, TrainingData
from micromacro.learners.scaling import Scaled, fit_arc_length, gradient_squares, spread_of_features

MOST_POINTS = 5000
WEIGHT_BETWEEN = 1e-6
"""Of a point between two others, in medians of those of points."""


class Linear(eqx.Module):
    """A linear map, $(x - m) A$: features `(F,)` to `(d,)`.

    **Arguments:**

    - `offset`: m, `(F,)`.
    - `matrix`: A, `(F, d)`.
    """

    offset: Float[Array, "F"]
    matrix: Float[Array, "F d"]

    def __call__(self, features: Float[Array, "F"]) -> Float[Array, "d"]:
        """The coordinate of one point."""
        return (features - self.offset) @ self.matrix


def linear(offset: Float[np.ndarray, "F"], matrix: Float[np.ndarray, "F d"]) -> Linear:
    """The linear map of arrays."""
    return Linear(jnp.asarray(offset), jnp.asarray(matrix))


def finish(coordinate: eqx.Module, data: TrainingData, diagnostics: Diagnostics, rng: np.random.Generator) -> Learned:
    """The coordinate with its scale: by the arc length in the metric of the noise.

    The noise is that of the data; where there is none, the inverse of their metric; else the spread of the features,
    so that z is in units of their standard deviations. Between groups of points, where there are none, points on the
    straight lines between pairs take their place: their weight is small enough not to matter elsewhere.
    """
    rows = rng.permutation(np.flatnonzero(data.weight > 0))[:MOST_POINTS]
    partner, share = rng.permutation(rows), rng.random((len(rows), 1))
    points = np.concatenate([data.features[rows], (1 - share) * data.features[rows] + share * data.features[partner]])
    weight = data.weight[rows] / data.weight[rows].mean()
    weight = np.concatenate([weight, np.full(len(rows), WEIGHT_BETWEEN * np.median(weight))])
    noise = _noise(data, np.concatenate([rows, rows]))
    values, squares = gradient_squares(coordinate, points, noise)  # pyright: ignore[reportArgumentType]
    return Learned(Scaled(coordinate, fit_arc_length(values, squares, weight)), diagnostics)


def _noise(data: TrainingData, rows: np.ndarray) -> Float[np.ndarray, "*n F F"]:
    """The covariance of the noise at rows of the data, or one for all."""
    if data.noise is not None:
        return data.noise[rows] if data.noise.ndim == 3 else data.noise
    return spread_of_features(data.features, data.weight) if data.metric is None else np.linalg.inv(data.metric[rows])
