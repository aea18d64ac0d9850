"""Noise schedules: their formulas, limits and order, and what they make of the flow of a Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.generators.schedules import (
    SCHEDULES,
    EdmSchedule,
    VeSchedule,
    VpSchedule,
    noise_and_scale,
    schedule_named,
)

QUANTILES = (np.arange(10_000) + 0.5) / 10_000


@pytest.fixture(params=SCHEDULES)
def schedule(request):
    return schedule_named(request.param)


def test_noise_falls_along_the_times_from_the_largest_to_the_smallest(schedule):
    for steps in (1, 12, 40):
        times = schedule.times(steps)
        assert times.shape == (steps + 1,)
        assert times.dtype == np.float32
        noise, scale = noise_and_scale(schedule, times)
        assert np.all(np.diff(times) < 0)
        assert np.all(np.diff(noise) < 0)
        assert np.all(scale > 0)
        np.testing.assert_allclose(noise[[0, -1]], [schedule.largest, schedule.smallest], rtol=1e-3)


def test_the_largest_noise_can_be_chosen(schedule):
    other = type(schedule)(largest=4.7)
    noise, _ = noise_and_scale(other, other.times(8))
    np.testing.assert_allclose(noise[0], 4.7, rtol=1e-4)
    np.testing.assert_allclose(noise[-1], schedule.smallest, rtol=1e-3)


def test_the_formulas_of_table_1():
    t = np.array([1e-3, 0.1, 0.7, 1.0])
    exponent = 0.5 * 19.9 * t**2 + 0.1 * t
    for schedule, noise, scale in (
        (EdmSchedule(), t, np.ones(4)),
        (VeSchedule(), np.sqrt(t), np.ones(4)),
        (VpSchedule(), np.sqrt(np.exp(exponent) - 1), 1 / np.sqrt(np.exp(exponent))),
    ):
        found = noise_and_scale(schedule, t)
        np.testing.assert_allclose(found[0], noise, rtol=1e-9)
        np.testing.assert_allclose(found[1], scale, rtol=1e-9)


def test_the_times_of_table_1():
    index = np.arange(9) / 8
    edm = (80 ** (1 / 7) + index * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(EdmSchedule(80.0, 0.002).times(8), edm, rtol=1e-5)
    ve = 100.0**2 * (0.02**2 / 100.0**2) ** index
    np.testing.assert_allclose(VeSchedule(100.0, 0.02).times(8), ve, rtol=1e-5)
    np.testing.assert_allclose(VpSchedule().times(8), 1 + index * (1e-3 - 1), rtol=1e-5)


def test_noise_in_training_follows_its_law():
    def noise(schedule):
        return np.asarray(schedule.training_noise(jnp.asarray(QUANTILES)))

    logarithm = np.log(noise(EdmSchedule()))
    np.testing.assert_allclose([logarithm.mean(), logarithm.std()], [-1.2, 1.5], atol=0.01)
    logarithm = np.log(noise(VeSchedule()))
    np.testing.assert_allclose(np.quantile(logarithm, [0, 0.5, 1]), np.log([0.01, np.sqrt(0.2), 20]), atol=1e-3)
    time = np.array([VpSchedule()._time(value) for value in noise(VpSchedule())])
    np.testing.assert_allclose(time, 1e-5 + (1 - 1e-5) * QUANTILES, atol=1e-5)


def test_variance_preserving_states_keep_unit_variance():
    noise, scale = noise_and_scale(VpSchedule(), np.linspace(0, 1, 50))
    np.testing.assert_allclose(scale**2 * (1 + noise**2), 1.0, rtol=1e-9)


def test_levels_are_plain_numbers_while_code_is_compiled(schedule):
    def traced(x):
        noise, scale = noise_and_scale(schedule, schedule.times(3))
        assert isinstance(noise, np.ndarray)
        return x * float(scale[0] * noise[0])

    assert np.isfinite(jax.jit(traced)(1.0))
