"""The quadratic slow manifold against a Kronecker solve, quadrature of its Gaussian and a simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import dblquad

from micromacro.systems.slow_manifold import correlation, quadratic_slow_manifold, stationary_covariance

RATE = 1 / 0.04
DRIFT = np.array([[-RATE, 0, 0, 0], [RATE, -RATE, 0, 0], [0, RATE, -RATE, 0], [0, 0, 1, -1.0]])
NOISE = np.diag(np.sqrt(2 * 0.05 * np.array([RATE, RATE, RATE, 1.0])))
WALKERS = 20_000


def midpoint_map(step: float) -> tuple[np.ndarray, np.ndarray]:
    """Factors of the implicit midpoint rule, whose stationary covariance is that of the equation at any step."""
    inverse = np.linalg.inv(np.eye(4) - step / 2 * DRIFT)
    return inverse @ (np.eye(4) + step / 2 * DRIFT), np.sqrt(step) * inverse @ NOISE


@pytest.fixture(scope="module")
def trajectory():
    """Walkers at time 10 from a start at zero, and 0.2 later, each `(WALKERS, 4)`."""
    rng = np.random.default_rng(2)
    states = np.zeros((WALKERS, 4))
    saved = []
    for step, count in ((0.02, 500), (0.004, 50)):
        move, kick = midpoint_map(step)
        for _ in range(count):
            states = states @ move.T + rng.standard_normal(states.shape) @ kick.T
        saved.append(states)
    return saved


def test_covariance_by_a_kronecker_solve():
    eye = np.eye(4)
    matrix = np.kron(DRIFT, eye) + np.kron(eye, DRIFT)
    expected = np.linalg.solve(matrix, -(NOISE @ NOISE.T).reshape(-1)).reshape(4, 4)
    np.testing.assert_allclose(stationary_covariance(), expected, rtol=1e-10, atol=1e-14)


def test_drift_and_noise_are_those_of_the_source():
    system = quadratic_slow_manifold().system
    state = jnp.array([0.1, -0.2, 0.3, 0.4])
    np.testing.assert_allclose(system.drift(state), DRIFT @ state, rtol=1e-12)
    np.testing.assert_allclose(system.diffusion(state), np.diag(NOISE), rtol=1e-12)
    np.testing.assert_allclose(system.observe(state), [0.1, -0.2, 0.3, 0.4 + 0.09 + 0.04], rtol=1e-12)
    assert np.isclose(np.linalg.det(jax.jit(jax.jacobian(system.observe))(state)), 1)


def test_covariance_of_a_simulation(trajectory):
    states, exact = trajectory[0], stationary_covariance()
    error = np.sqrt((np.outer(np.diag(exact), np.diag(exact)) + exact**2) / WALKERS)
    assert (abs(states.T @ states / WALKERS - exact) < 4 * error).all()


def test_correlation_of_a_simulation(trajectory):
    before, after = trajectory
    exact, at_once = correlation(np.array([0.2, 0.0]))
    variance = np.diag(at_once)
    error = np.sqrt((np.outer(variance, variance) + exact**2) / WALKERS)
    assert (abs(after.T @ before / WALKERS - exact) < 4 * error).all()
    np.testing.assert_allclose(at_once, stationary_covariance(), rtol=1e-12)


def test_the_dynamics_is_irreversible_and_its_density_stationary():
    system = quadratic_slow_manifold().system
    state = jnp.array([0.1, -0.2, 0.3, 0.4])
    current = system.drift(state) - system.diffusion(state) ** 2 / 2 * jax.grad(system.log_density)(state)
    assert abs(current).max() > 1


@pytest.mark.parametrize("v", [-0.6, 0.25])
def test_conditionals_by_integrating_the_joint_density(v):
    exact = quadratic_slow_manifold().exact
    marginal = stationary_covariance()[1:, 1:]
    precision = np.linalg.inv(marginal)

    def integral(function):
        def integrand(third, second):
            state = np.array([second, third, v])
            return np.exp(-state @ precision @ state / 2) * function(second, third)

        return dblquad(integrand, -1.8, 1.8, -1.8, 1.8, epsabs=1e-8, epsrel=1e-8)[0]

    norm = integral(lambda *_: 1.0)
    third = integral(lambda _a, b: b) / norm
    fourth = integral(lambda a, b: v + a * a + b * b) / norm
    spread = integral(lambda a, b: (v + a * a + b * b - fourth) ** 2) / norm
    z = np.array([[v]])
    np.testing.assert_allclose(exact.conditional_mean(z)[0, 2:], [third, fourth], atol=1e-6)
    np.testing.assert_allclose(exact.conditional_variance(z)[0, 3], spread, atol=1e-6)
    np.testing.assert_allclose(exact.drift(z)[0, 0], third - v, atol=1e-6)
    assert np.isclose(exact.free_energy(z)[0], v * v / (2 * marginal[2, 2]))
