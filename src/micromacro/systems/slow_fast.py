r"""A stiff slow–fast pair whose coarse means are known exactly at any ε.

$dx = (y - 2x)\,dt$, $dw = (y^2 - w)\,dt$, $dy = (x - y)/ε\,dt + \sqrt{2s/ε}\,dW$ with s = ½; state (x, w, y),
ξ = (x, w). As ε → 0, y given (x, w) is N(x, s) and the reduced equation is $x' = -x$, $w' = x^2 + s - w$:
nonlinear, and wrong by s where the fast noise is forgotten.

(x, y) is linear and w reads only y², so the first and second moments of (x, y) and the mean of w close: with
$m = (1, E x, E y, E x^2, E xy, E y^2, E w)$, Itô's formula gives $m' = M m$, and the coarse means at any time are a
matrix exponential, with no error in ε.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import expm

from micromacro.systems.exact import ExactAnswers
from micromacro.systems.model import StochasticSystem
from micromacro.systems.reference import Reference

EPSILON, VARIANCE = 1e-3, 0.5
LOWER, UPPER = (-1.5, 0.0), (1.5, 2.0)


def coarse(state: Float[Array, "3"]) -> Float[Array, "2"]:
    """ξ = (x, w)."""
    return state[:2]


def moment_matrix(epsilon: float) -> Float[np.ndarray, "7 7"]:
    """M of the moments (1, E x, E y, E x², E xy, E y², E w)."""
    rate = 1 / epsilon
    return np.array(
        [
            [0, 0, 0, 0, 0, 0, 0],
            [0, -2, 1, 0, 0, 0, 0],
            [0, rate, -rate, 0, 0, 0, 0],
            [0, 0, 0, -4, 2, 0, 0],
            [0, 0, 0, rate, -2 - rate, 1, 0],
            [2 * VARIANCE * rate, 0, 0, 0, 2 * rate, -2 * rate, 0],
            [0, 0, 0, 0, 0, 1, -1],
        ]
    )


def coarse_mean(
    start: Float[np.ndarray, "2"], times: Float[np.ndarray, "k"], epsilon: float = EPSILON
) -> Float[np.ndarray, "k 2"]:
    """Exact E (x, w) at `times` `(k,)` of an ensemble that begins at `start`, y ~ N(x, s)."""
    x, w = start
    moments = np.array([1, x, x, x**2, x**2, x**2 + VARIANCE, w])
    return np.stack([(expm(moment_matrix(epsilon) * time) @ moments)[[1, 6]] for time in times])


def averaged_drift(z: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """The reduced equation's (-x, x² + s - w)."""
    return np.column_stack([-z[:, 0], z[:, 0] ** 2 + VARIANCE - z[:, 1]])


def slow_fast(epsilon: float = EPSILON) -> Reference:
    """The system; b and D are of the averaged equation, exact to O(ε), with D = 0 as x and w feel no noise."""

    def drift(state: Float[Array, "3"]) -> Float[Array, "3"]:
        x, w, y = state
        return jnp.stack([y - 2 * x, y**2 - w, (x - y) / epsilon])

    system = StochasticSystem(
        drift=drift,
        diffusion=lambda _state: jnp.array([0.0, 0.0, np.sqrt(2 * VARIANCE / epsilon)]),
        dimension=3,
        initial=np.array([[-1.0, 0.5, -1.0], [1.0, 0.5, 1.0]]),
        time_step=0.1 * epsilon,
    )
    return Reference(system, coarse, LOWER, UPPER, (False, False), _answers())


def _answers() -> ExactAnswers:
    def sample(z, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 3"]:
        fast = z[0] + np.sqrt(VARIANCE) * rng.standard_normal(count)
        return np.column_stack([np.tile(z, (count, 1)), fast])

    return ExactAnswers(
        known="coarse means exactly; moments, b, D to O(ε)",
        conditional_mean=lambda z: np.hstack([z, z[:, :1]]),
        conditional_variance=lambda z: np.tile([0.0, 0.0, VARIANCE], (len(z), 1)),
        drift=averaged_drift,
        diffusion=lambda z: np.zeros((len(z), 2, 2)),
        sample_conditional=sample,
    )
