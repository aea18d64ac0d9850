"""Branches through folds: of a known stepper exactly, of the noisy fold within its error."""

import numpy as np
import pytest

from micromacro.equation_free.continuation import ContinuationSettings, continue_branch
from micromacro.equation_free.time_stepper import StepperSettings
from micromacro.errors import InputError, PhysicsError
from micromacro.systems.noisy_fold import fold, noisy_fold


def cubic(z, time, parameter):
    return z + 0.5 * time * (parameter + z - z**3)


def test_known_branch_through_both_folds(known):
    settings = ContinuationSettings(step=0.1, points=80, lower=-0.6, upper=0.6)
    found = continue_branch(known(cubic), np.array([1.2]), 0.5, direction=-1, settings=settings)
    assert found.complete
    np.testing.assert_allclose(found.parameter, found.z[:, 0] ** 3 - found.z[:, 0], atol=1e-6)
    assert found.z[-1, 0] < -1.2
    x, parameter = 1 / np.sqrt(3), 2 / (3 * np.sqrt(3))
    assert [float(one.parameter.value[0]) for one in found.folds] == pytest.approx([-parameter, parameter], abs=1e-3)
    assert [float(one.z.value[0]) for one in found.folds] == pytest.approx([x, -x], abs=1e-2)
    clear = abs(abs(found.z[:, 0]) - x) > 0.02
    expected = np.where(abs(found.z[:, 0]) > x, 1, -1)
    np.testing.assert_array_equal(found.stable[clear], expected[clear])


def test_error_bar_of_a_fold_is_right(known):
    """Noise of the displacement shifts the parameter by 2 noise everywhere, hence at the fold."""
    scores = []
    settings = ContinuationSettings(step=0.1, points=12)
    for seed in range(8):
        stepper = known(cubic, noise=2e-3, seed=seed)
        (one, *_) = continue_branch(stepper, np.array([0.9]), -0.17, direction=-1, settings=settings).folds
        assert one.parameter.stderr[0] == pytest.approx(4e-3, rel=0.5)
        scores.append((one.parameter.value[0] + 2 / (3 * np.sqrt(3))) / one.parameter.stderr[0])
    assert 0.3 < np.mean(np.square(scores)) < 2.3


def test_scales_change_units_alone(known):
    settings = ContinuationSettings(step=0.1, points=8)
    plain = continue_branch(known(cubic), np.array([1.0]), 0.0, settings=settings)

    def scaled(z, time, parameter):
        return 100 * cubic(z / 100, time, parameter / 10)

    other = continue_branch(known(scaled), np.array([100.0]), 0.0, scale=100.0, parameter_scale=10.0, settings=settings)
    np.testing.assert_allclose(other.parameter / 10, plain.parameter, atol=1e-6)
    np.testing.assert_allclose(other.z / 100, plain.z, atol=1e-6)


def test_fold_of_the_noisy_system_within_two_per_cent(stepper_of):
    stepper = stepper_of(noisy_fold(), StepperSettings(0.03, 0.2, 400))
    settings = ContinuationSettings(step=0.12, points=10)
    found = continue_branch(stepper, np.array([0.85]), -0.22, direction=-1, settings=settings)
    x, parameter = fold()
    (one,) = found.folds
    assert one.parameter.value[0] == pytest.approx(parameter, rel=0.02)
    assert abs(one.parameter.value[0] - parameter) < 3.5 * one.parameter.stderr[0] + 0.002
    assert one.parameter.stderr[0] < 0.01
    assert one.z.value[0] == pytest.approx(x, abs=0.03)
    assert found.stable[0] == 1
    assert found.stable[-1] == -1
    # without averaging over the fast noise, the fold would be here
    assert abs(one.parameter.value[0] + 0.5705) > 10 * one.parameter.stderr[0]


def test_no_branch_is_an_error(known):
    with pytest.raises(PhysicsError, match="nearer guess"):
        continue_branch(known(lambda z, time, parameter: z + time * (1 + z**2)), np.array([1.0]), 0.0)


def test_too_many_components(known):
    with pytest.raises(InputError, match="fewer than 16"):
        continue_branch(known(cubic, 16), np.zeros(16), 0.0)
