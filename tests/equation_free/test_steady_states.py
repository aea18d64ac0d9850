"""Newton–Krylov on known steppers: exact where linear, and stopped by noise where there is some."""

import numpy as np
import pytest
from scipy.linalg import expm

from micromacro.equation_free.newton import NewtonSettings
from micromacro.equation_free.steady_states import find_steady_state
from micromacro.equation_free.time_stepper import StepperSettings

RATES = np.array([[-1.0, 2.0, 0.0], [-2.0, -1.0, 0.5], [0.0, 0.0, -0.3]])
REST = np.array([0.5, -1.0, 2.0])


def linear(matrix, rest):
    return lambda z, time: rest + expm(matrix * time) @ (z - rest)


@pytest.mark.parametrize("healing", [0.0, 0.5])
def test_linear_stepper_is_solved_in_one_step(known, healing):
    stepper = known(linear(RATES, REST), 3, healing=healing)
    found = find_steady_state(stepper, np.zeros(3))
    assert found.outcome == "converged"
    assert found.iterations == 1
    np.testing.assert_allclose(found.z.value, REST, atol=1e-7)
    np.testing.assert_allclose(found.z.stderr, 0, atol=1e-9)
    expected = np.linalg.eigvals(RATES)
    np.testing.assert_allclose(found.growth_rates[0], -0.3, atol=1e-5)
    np.testing.assert_allclose(np.sort(np.imag(found.growth_rates)), np.sort(np.imag(expected)), atol=1e-5)
    np.testing.assert_allclose(np.sort(abs(found.multipliers)), np.sort(abs(np.exp(expected))), atol=1e-5)
    assert found.stable
    assert found.force_evaluations == 10 * len(stepper.called)


def test_many_components_by_arnoldi(known):
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((24, 24)))[0]
    rates = -np.linspace(0.1, 2.5, 24)
    rest = rng.standard_normal(24)
    stepper = known(linear(axes @ np.diag(rates) @ axes.T, rest), 24)
    found = find_steady_state(stepper, np.zeros(24), eigenvalues=2)
    np.testing.assert_allclose(found.z.value, rest, atol=1e-5)
    np.testing.assert_allclose(found.growth_rates, rates[:2], atol=1e-4)
    assert found.stable


def cubic(z, time):
    """Moves towards 1 by less than the linear law says: Newton needs several steps."""
    return z - time * ((z - 1) + 2 * (z - 1) ** 3)


@pytest.mark.parametrize("noise", [1e-4, 1e-2])
def test_stops_at_the_noise_and_not_before(known, noise):
    stepper = known(cubic, noise=noise, seed=3)
    found = find_steady_state(stepper, np.array([4.0]))
    assert found.outcome == "within noise"
    assert found.test.statistic <= found.test.threshold
    assert 3 <= found.iterations <= 10
    residual = np.abs([z - 1 + 2 * (z - 1) ** 3 for z in np.ravel(stepper.called)])
    # no point was called a root whose residual stands out of the noise; none within it was iterated upon
    assert residual[-1] < 4 * noise
    np.testing.assert_allclose(found.z.stderr, noise, rtol=0.5)
    assert abs(found.z.value[0] - 1) < 4 * noise


def test_error_bars_of_roots_are_right(known):
    scores = []
    for seed in range(40):
        found = find_steady_state(known(cubic, noise=0.02, seed=seed), np.array([1.5]))
        scores.append((found.z.value[0] - 1) / found.z.stderr[0])
    # Student's t with 19 degrees of freedom has variance 19/17
    assert 0.5 < np.mean(np.square(scores)) < 1.8


def test_no_root_ends_and_says_so(known):
    found = find_steady_state(
        known(lambda z, time: z + time * (1 + z**2), noise=1e-3),
        np.array([0.7]),
        settings=NewtonSettings(iterations=15),
    )
    assert found.outcome == "not converged"
    assert found.iterations <= 15
    assert np.isnan(found.z.stderr).all()


def test_unstable_state_is_found_and_called_so(known):
    found = find_steady_state(known(lambda z, time: 1 + (z - 1) * np.exp(0.5 * time)), np.array([0.0]))
    assert found.stable is False
    assert found.growth_rates[0].real == pytest.approx(0.5, abs=1e-6)


def test_fast_slow_pair(linear_pair):
    """x = 0 is steady, and decays at the slow rate of the exact matrix; lifted off the slow manifold, healed."""
    stepper = linear_pair(0.5, StepperSettings(0.06, 0.2, 200))
    found = find_steady_state(stepper, np.array([1.0]))
    rate = np.linalg.eigvals(np.array([[-2, 1], [100, -100]])).real.max()
    assert found.outcome == "within noise"
    # the healed transient leaves e⁻⁶ of the offset times ε
    assert abs(found.z.value[0]) < 4 * found.z.stderr[0] + 1e-3
    # linear: the derivative by common random numbers is free of noise
    assert found.growth_rates[0].real == pytest.approx(rate, rel=0.03)
    assert found.stable
