"""The transient after lifting: found where it is, not where it is not, and what happens to those who do not wait."""

import dataclasses

import numpy as np
import pytest

from micromacro.equation_free.healing import measure_healing, with_measured_healing
from micromacro.equation_free.time_stepper import StepperSettings
from micromacro.errors import InputError, PhysicsError

EPSILON, Z = 0.01, np.array([1.0])
FAST, SLOW = np.sort(np.linalg.eigvals(np.array([[-2, 1], [1 / EPSILON, -1 / EPSILON]])).real)


def settings(**changes) -> StepperSettings:
    return dataclasses.replace(StepperSettings(0.0, 0.05, 400), **changes)


@pytest.mark.parametrize("longest", [0.1, 1.0])
def test_known_transient(linear_pair, longest):
    """x' = y - 2x, so y off by δ makes a transient of amplitude δ, to O(ε), that decays at the fast rate."""
    healing = measure_healing(linear_pair(0.8, settings()), Z, longest)
    assert healing.relaxation_time == pytest.approx(-1 / FAST, rel=0.15)
    assert abs(healing.amplitude.value[0] - 0.8) < 4 * healing.amplitude.stderr[0] + 0.1
    # when a tenth of the error is left: of integrated noise of variance 2 · 0.1 ε per time
    error = np.sqrt(0.2 * EPSILON * 0.05 / 400)
    assert healing.time == pytest.approx(EPSILON * np.log(0.8 * EPSILON / (0.1 * error)), rel=0.3)
    assert healing.force_evaluations % 400 == 0


def test_no_transient_on_the_slow_manifold(linear_pair):
    healing = measure_healing(linear_pair(0.0, settings()), Z, 0.1)
    assert healing.time == 0
    healing.require(0.0, 0.05)


def test_without_healing_the_derivative_is_wrong_and_with_it_right(linear_pair):
    hasty = linear_pair(0.8, settings(horizon=0.02))
    wrong = hasty(Z).derivative
    assert abs(wrong.value[0] - SLOW) > 10 * wrong.stderr[0]
    patient, healing = with_measured_healing(hasty, Z, 0.1)
    burst = patient(Z)
    middle = (burst.times[1] + burst.times[-1]) / 2
    expected = SLOW * burst.healed.value[0] * np.exp(SLOW * (middle - burst.times[1]))
    right = burst.derivative
    assert abs(right.value[0] - expected) < 4 * right.stderr[0]
    assert patient.settings.healing_time == healing.time
    with pytest.raises(InputError, match="healing_time must be at least"):
        healing.require(0.0, 0.02)


def test_a_lag_inside_the_fast_time_is_caught(linear_pair):
    """The velocity bends within such a horizon, and the measured relaxation time refuses it."""
    stepper = linear_pair(0.8, settings(horizon=0.5 * EPSILON, antithetic=True))
    inside = stepper(Z).bend
    assert abs(inside.value[0]) > 6 * inside.stderr[0]
    outside = linear_pair(0.8, settings(healing_time=6 * EPSILON, horizon=0.05))(Z).bend
    assert abs(outside.value[0]) < 4 * outside.stderr[0] + 0.05
    healing = measure_healing(stepper, Z, 0.1)
    with pytest.raises(InputError, match="horizon must be at least the relaxation time"):
        healing.require(10 * EPSILON, 0.5 * EPSILON)


def test_window_that_ends_before_the_transient(linear_pair):
    with pytest.raises(PhysicsError, match="had not settled"):
        measure_healing(linear_pair(4.0, settings()), Z, 0.02)


def test_fewer_replicas_measure_the_same(linear_pair):
    stepper = linear_pair(0.8, settings(replicas=2000))
    few = measure_healing(stepper, Z, 0.1, replicas=400)
    many = measure_healing(stepper, Z, 0.1)
    assert few.time == pytest.approx(many.time, rel=0.25)
    assert few.force_evaluations < many.force_evaluations / 4
