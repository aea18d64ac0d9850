"""The stiff slow–fast pair: its exact means against a simulation, and against averaging as ε goes to zero."""

import jax
import numpy as np
from scipy.integrate import solve_ivp

from micromacro.sampling.euler_maruyama import simulate
from micromacro.systems.slow_fast import VARIANCE, averaged_drift, coarse_mean, slow_fast

START = np.array([1.0, 0.2])


def test_means_of_a_simulation():
    """ε = 0.05; the scheme's own error is the step times rates of order one, and half the step over ε in s."""
    epsilon, walkers, steps = 0.05, 20_000, 2000
    system = slow_fast(epsilon).system
    states = slow_fast(epsilon).exact.sample_conditional(START, walkers, np.random.default_rng(0))
    step = 0.01 * epsilon
    final = simulate(system.drift, system.diffusion, states, step, steps, jax.random.key(0)).final[:, :2]
    exact = coarse_mean(START, np.array([steps * step]), epsilon)[0]
    error = final.std(axis=0) / np.sqrt(walkers)
    assert (abs(final.mean(axis=0) - exact) < 4 * error + 2 * step + VARIANCE * step / (2 * epsilon)).all()


def test_averaged_equation_is_approached_in_proportion_to_epsilon():
    times = np.array([0.5, 1.0, 2.0])
    averaged = solve_ivp(
        lambda _, z: averaged_drift(z[None])[0], (0, 2), START, t_eval=times, rtol=1e-10, atol=1e-12
    ).y.T
    errors = [abs(coarse_mean(START, times, epsilon) - averaged).max() for epsilon in (0.02, 0.01, 0.001)]
    assert errors[0] < 0.04
    np.testing.assert_allclose(errors[0] / errors[1], 2, rtol=0.1)
    np.testing.assert_allclose(errors[1] / errors[2], 10, rtol=0.15)


def test_start_is_where_it_was_put():
    np.testing.assert_allclose(coarse_mean(START, np.zeros(1))[0], START)
