"""Standard errors of what follows from a closure."""

import dataclasses

import numpy as np
import pytest

from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.spectrum import slowest_modes
from micromacro.closures.spread import _noise, spread
from micromacro.errors import InputError


def slowest(dynamics):
    return slowest_modes(dynamics, 1).time_scales


def test_linear_error_of_a_rate(exact):
    """Constant D known to 3 % in each of few cells: the rate of Brownian motion on a circle averages 1/D over them."""
    coarse = exact.coarse([0.0], [2 * np.pi], [True])
    table = exact.table(coarse, (40,), np.zeros_like, lambda z: np.ones((len(z), 1, 1)), stderr=0.03)
    quiet = dataclasses.replace(table, drift_stderr=np.zeros_like(table.drift))
    found = spread(quiet, coarse, lambda dynamics: dynamics.diffusion.mean(), replicas=400)
    # the smoothed noise of neighbours adds up: variance of the mean of cells with correlations 0.34 and 0.01
    expected = 0.03 * np.sqrt((1 + 2 * 0.34 + 2 * 0.013) / 40)
    assert found.value == pytest.approx(1)
    assert found.stderr == pytest.approx(expected, rel=0.15)


@pytest.mark.slow
def test_time_scale_of_the_double_well_varies_as_its_replicas_do(double_well):
    coarse, table, _ = double_well
    noisy = dataclasses.replace(table, drift_stderr=np.full_like(table.drift, 0.3))
    found = spread(noisy, coarse, slowest, replicas=40, seed=1)
    other = spread(noisy, coarse, slowest, replicas=40, seed=2)
    assert found.value[0] == slowest(ReducedDynamics.from_table(table, coarse))[0]
    assert 0.01 < found.stderr[0] / found.value[0] < 0.2
    assert 0.6 < found.stderr[0] / other.stderr[0] < 1.6


def test_no_error_of_the_table_no_spread(double_well):
    coarse, table, _ = double_well
    assert spread(table, coarse, slowest, replicas=3).stderr[0] == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("periodic", [True, False])
def test_noise_has_unit_variance_and_the_correlation_of_the_kernel(exact, periodic):
    from micromacro.closures.grid import uniform_grid

    grid = uniform_grid(exact.coarse([0.0, 0.0], [1.0, 1.0], [periodic, False]), (12, 10))
    noise = _noise(grid, 1.0, np.random.default_rng(0).standard_normal((120, 4000))).reshape(12, 10, -1)
    np.testing.assert_allclose(noise.var(axis=-1), 1, atol=0.1)
    pair = np.mean(noise[4, 5] * noise[5, 5])
    assert pair == pytest.approx(0.34, abs=0.06)


def test_unknown_errors_are_refused(double_well):
    coarse, table, _ = double_well
    unknown = dataclasses.replace(table, drift_stderr=np.full_like(table.drift, np.nan))
    with pytest.raises(InputError, match="standard errors"):
        spread(unknown, coarse, slowest)
