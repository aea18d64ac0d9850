r"""The quadratic slow manifold: a linear-Gaussian system seen through a quadratic map.

$dx_1 = -x_1/ε\,dt$, $dx_2 = (x_1 - x_2)/ε\,dt$, $dx_3 = (x_2 - x_3)/ε\,dt$, each with noise $\sqrt{2T/ε} dW$, and
$dv = (x_3 - v) dt + \sqrt{2T} dW$; seen as $(x_1, x_2, x_3, x_4 = v + x_3^2 + x_2^2)$, ξ = x_4 - x_3² - x_2² = v.

The cascade acts one way only: the dynamics is irreversible, with rotating currents. Its stationary density is
nevertheless the Gaussian of the Lyapunov equation $A S + S A^T + B B^T = 0$, and the map of unit Jacobian keeps it.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import expm, solve_continuous_lyapunov

from micromacro.systems.exact import ExactAnswers
from micromacro.systems.model import StochasticSystem
from micromacro.systems.reference import Reference

EPSILON, TEMPERATURE = 0.04, 0.05
LOWER, UPPER = -0.75, 0.75


def drift_matrix(epsilon: float = EPSILON) -> Float[np.ndarray, "4 4"]:
    """A of dx = A x dt + B dW for the hidden state (x1, x2, x3, v)."""
    return np.array([[-1, 0, 0, 0], [1, -1, 0, 0], [0, 1, -1, 0], [0, 0, epsilon, -epsilon]]) / epsilon


def noise_strength(epsilon: float = EPSILON) -> Float[np.ndarray, "4"]:
    """The diagonal of B."""
    return np.sqrt(2 * TEMPERATURE * np.array([1 / epsilon, 1 / epsilon, 1 / epsilon, 1.0]))


def observe(state: Float[Array, "4"]) -> Float[Array, "4"]:
    """(x1, x2, x3, v) to (x1, x2, x3, x4)."""
    return state.at[3].add(state[2] ** 2 + state[1] ** 2)


def hidden(observed: Float[Array, "4"]) -> Float[Array, "4"]:
    """(x1, x2, x3, x4) to (x1, x2, x3, v)."""
    return observed.at[3].add(-(observed[2] ** 2) - observed[1] ** 2)


def slow_variable(observed: Float[Array, "4"]) -> Float[Array, "1"]:
    """ξ = x4 - x3² - x2²."""
    return hidden(observed)[3:]


def stationary_covariance(epsilon: float = EPSILON) -> Float[np.ndarray, "4 4"]:
    """Covariance of (x1, x2, x3, v) in the long-run law, whose mean is zero."""
    covariance = solve_continuous_lyapunov(drift_matrix(epsilon), -np.diag(noise_strength(epsilon) ** 2))
    return (covariance + covariance.T) / 2


def correlation(times: Float[np.ndarray, "k"], epsilon: float = EPSILON) -> Float[np.ndarray, "k 4 4"]:
    r"""$E[x(t) x(0)^T] = e^{At} S$ of the hidden state (x1, x2, x3, v) at `times` >= 0, in time units."""
    covariance, matrix = stationary_covariance(epsilon), drift_matrix(epsilon)
    return np.stack([expm(matrix * time) @ covariance for time in times])


def closure_at_lag(lag: float) -> tuple[float, float]:
    r"""The rate λ and D of $dv = -λ v\,dt + \sqrt{2D}\,dW$ that predicts v one lag on as the full system does.

    With ρ the autocorrelation of v at the lag and S its variance, λ = -ln ρ / lag and D = λ S: the projected closure
    as the lag goes to zero, rate 0.90 and D = T, and beyond the fast time the homogenised one, rate 1 and D ≈ 1.11 T,
    up to O(ε / lag): the first few ε of every lag go by the projected one.
    """
    variance, covariance = stationary_covariance()[3, 3], correlation(np.array([lag]))[0, 3, 3]
    rate = float(-np.log(covariance / variance) / lag)
    return rate, rate * float(variance)


def quadratic_slow_manifold(epsilon: float = EPSILON) -> Reference:
    """The system with T = 0.05; `initial` is of the hidden state, v half a unit either side.

    The slow rate of the full system is 1 for every `epsilon` < 1.
    """
    precision = np.linalg.inv(stationary_covariance(epsilon))
    matrix, noise = drift_matrix(epsilon), noise_strength(epsilon)
    system = StochasticSystem(
        drift=lambda state: jnp.asarray(matrix) @ state,
        diffusion=lambda _state: jnp.asarray(noise),
        dimension=4,
        initial=np.array([[0.0, 0.0, 0.0, -0.5], [0.0, 0.0, 0.0, 0.5]]),
        time_step=0.05 * epsilon,
        log_stationary_density=lambda state: -0.5 * state @ (precision @ state),
        observe=observe,
        hidden=hidden,
    )
    return Reference(system, slow_variable, (LOWER,), (UPPER,), (False,), _answers(epsilon))


def _answers(epsilon: float) -> ExactAnswers:
    covariance = stationary_covariance(epsilon)
    variance = covariance[3, 3]
    gain = covariance[:3, 3] / variance  # E[x_i | v] = gain_i v
    spread = covariance[:3, :3] - variance * np.outer(gain, gain)
    pair = spread[1:, 1:]

    def mean(z: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "n 4"]:
        linear = z * gain
        return np.hstack([linear, z + np.trace(pair) + np.sum(linear[:, 1:] ** 2, axis=1, keepdims=True)])

    def conditional_variance(z: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "n 4"]:
        # Var |w|² = 2 tr C² + 4 μᵀ C μ for w ~ N(μ, C)
        square = 2 * np.trace(pair @ pair) + 4 * z**2 * (gain[1:] @ pair @ gain[1:])
        return np.hstack([np.broadcast_to(np.diag(spread), (len(z), 3)), square])

    def sample(z, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 4"]:
        fast = rng.multivariate_normal(gain * z[0], spread, size=count)
        return np.column_stack([fast, z[0] + fast[:, 2] ** 2 + fast[:, 1] ** 2])

    return ExactAnswers(
        known="F, moments, b, D, correlations from a Lyapunov equation",
        free_energy=lambda z: np.asarray(z, float)[:, 0] ** 2 / (2 * variance),
        conditional_mean=mean,
        conditional_variance=conditional_variance,
        drift=lambda z: (gain[2] - 1) * np.asarray(z, float),
        diffusion=lambda z: np.full((len(z), 1, 1), TEMPERATURE),
        # the slowest rate of the linear system is 1, and D is what keeps the stationary variance
        homogenised_drift=lambda z: -np.asarray(z, float),
        homogenised_diffusion=lambda z: np.full((len(z), 1, 1), variance),
        sample_conditional=sample,
    )
