"""From a learned map to a learned coordinate: its components given the scale of the arc length."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.learners.learner import Diagnostics, Learned, TrainingData
from micromacro.learners.scaling import Scaled, fit_arc_length, gradient_squares, spread_of_features

MOST_POINTS = 5000


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
    so that z is in units of their standard deviations.
    """
    rows = np.flatnonzero(data.weight > 0)
    rows = rng.permutation(rows)[:MOST_POINTS]
    noise = data.noise
    if noise is None:
        metric = data.metric
        noise = spread_of_features(data.features, data.weight) if metric is None else np.linalg.inv(metric[rows])
    elif noise.ndim == 3:
        noise = noise[rows]
    values, squares = gradient_squares(coordinate, data.features[rows], noise)  # pyright: ignore[reportArgumentType]
    return Learned(Scaled(coordinate, fit_arc_length(values, squares, data.weight[rows])), diagnostics)
