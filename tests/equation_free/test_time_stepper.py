"""The coarse time stepper on systems whose coarse motion is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.equation_free.restriction import mean_of, moments_of
from micromacro.equation_free.time_stepper import CoarseTimeStepper, StepperSettings
from micromacro.errors import InputError, PhysicsError
from micromacro.systems.model import StochasticSystem
from micromacro.systems.slow_fast import coarse_mean

Z = np.array([1.0, 0.5])


@pytest.fixture
def burst(stepper_of, stiff):
    return stepper_of(stiff, StepperSettings(3e-3, 3e-3, 400))


def test_end_and_derivative_against_the_exact_means(burst):
    """Beside the noise, 0.026 in dw/dt: Euler and Maruyama's scheme at a tenth of ε widens y by a twentieth."""
    found = burst(Z)
    exact = coarse_mean(Z, found.times)
    assert (abs(found.end.value - exact[-1]) < 4 * found.end.stderr + [1e-4, 3e-4]).all()
    slope = found.slope(exact)
    assert (abs(found.derivative.value - slope) < 4 * found.derivative.stderr + [0.002, 0.03]).all()
    np.testing.assert_allclose(found.path[0], Z, atol=1e-12)
    assert found.force_evaluations == 400 * 60


def test_standard_errors_are_those_of_repetition(burst):
    runs = [burst(Z, key=jax.random.key(number)) for number in range(30)]
    for name in ("derivative", "displacement", "end"):
        values = np.stack([getattr(run, name).value for run in runs])
        stated = np.mean([getattr(run, name).stderr for run in runs], axis=0)
        ratio = values.std(axis=0, ddof=1) / stated
        assert ((ratio > 0.6) & (ratio < 1.5)).all(), (name, ratio)


def test_common_random_numbers_make_a_smooth_function(burst):
    first, again, other = burst(Z), burst(Z), burst(Z, key=jax.random.key(7))
    np.testing.assert_array_equal(first.path, again.path)
    assert not np.allclose(first.end.value, other.end.value, rtol=1e-9)
    step = 1e-5
    slope = (burst(Z + np.array([step, 0])).displacement.value - first.displacement.value) / step
    # x' = -x and w' = x² + s - w, over 3 ms
    np.testing.assert_allclose(slope, 3e-3 * np.array([-1, 2]), rtol=0.1)


def test_opposite_noises_cancel_in_a_linear_system(linear_pair):
    plain, paired = (
        linear_pair(0.0, StepperSettings(0.02, 0.05, 200, antithetic=flag))(Z[:1]) for flag in (False, True)
    )
    assert paired.force_evaluations == plain.force_evaluations
    assert abs(paired.displacement.value - plain.displacement.value)[0] < 4 * plain.displacement.stderr[0]
    # of the pair's own lifted state, e⁻² is left when healing ends
    assert paired.displacement.stderr[0] < 0.3 * plain.displacement.stderr[0]


def test_evaluations_of_the_lifting_count(burst):
    assert dataclasses.replace(burst, evaluations_per_lift=9)(Z).force_evaluations == 400 * (60 + 9)


def test_parameters_reach_the_drift():
    def drift(q, speed=0.0):
        return jnp.full(1, speed)

    system = StochasticSystem(drift, jnp.zeros_like, 1, np.zeros((1, 1)), time_step=0.1)
    coarse = CoarseVariable(lambda q: q, np.array([-np.pi]), np.array([np.pi]), (True,))
    lift = lambda z, count, key: np.tile(z, (count, 1))  # noqa: E731
    stepper = CoarseTimeStepper(system, lift, mean_of(system, coarse), StepperSettings(0.1, 1.0, 40))
    # across the seam of the circle the path goes on, it does not jump
    np.testing.assert_allclose(stepper(np.array([3.0]), (0.5,)).displacement.value, 0.5, rtol=1e-9)
    np.testing.assert_allclose(stepper(np.array([3.0]), (0.5,)).derivative.value, 0.5, rtol=1e-9)


def test_moments_of_pure_diffusion():
    system = StochasticSystem(jnp.zeros_like, jnp.ones_like, 1, np.zeros((1, 1)), time_step=0.01)
    coarse = CoarseVariable(lambda q: q, np.array([-5.0]), np.array([5.0]), (False,))

    def lift(z, count, key):
        return z[0] + np.sqrt(z[1]) * np.asarray(jax.random.normal(key, (count, 1)))

    stepper = CoarseTimeStepper(system, lift, moments_of(system, coarse), StepperSettings(0.0, 0.5, 2000))
    found = stepper(np.array([1.0, 0.5])).derivative
    assert (abs(found.value - [0, 1]) < 4 * found.stderr).all()
    assert found.stderr[1] < 0.2


def test_what_cannot_be_stepped_is_refused(burst):
    with pytest.raises(InputError, match="lift must return"):
        dataclasses.replace(burst, lift=lambda z, count, key: np.zeros((count, 2)))(Z)
    with pytest.raises(PhysicsError, match="finite"):
        dataclasses.replace(burst, lift=lambda z, count, key: np.full((count, 3), np.nan))(Z)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"healing_time": -1.0}, "healing_time"),
        ({"horizon": 0.0}, "horizon"),
        ({"frames": 0}, "frames"),
        ({"replicas": 30}, "multiple of 20"),
        ({"replicas": 60, "antithetic": True}, "multiple of 40"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(InputError, match=message):
        StepperSettings(**{"healing_time": 0.0, "horizon": 1.0, **changes})
