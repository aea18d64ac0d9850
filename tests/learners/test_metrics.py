"""Metrics of a learned coordinate: rank correlation against scipy, captured time scale against the exact one."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from micromacro.errors import InputError
from micromacro.learners.learner import TimeSeries
from micromacro.learners.metrics import captured_time_scale, rank_correlation, weighted_ranks


def test_the_rank_correlation_is_that_of_scipy_ties_included():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 8, 300).astype(float)
    second = first + rng.integers(0, 9, 300)
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)


def test_weights_count_as_repetitions():
    rng = np.random.default_rng(1)
    first, second, times = rng.normal(size=80), rng.normal(size=80), rng.integers(0, 4, 80)
    repeated = spearmanr(np.repeat(first, times), np.repeat(second, times)).statistic
    assert rank_correlation(first, second, times.astype(float)) == pytest.approx(repeated, abs=1e-12)
    np.testing.assert_allclose(weighted_ranks(np.array([5.0, 1.0]), np.array([1.0, 3.0])), [0.875, 0.375])


def test_a_monotone_function_has_correlation_one_and_a_constant_none():
    values = np.linspace(-2, 2, 50)
    assert rank_correlation(values, -np.exp(values)) == pytest.approx(-1.0)
    assert rank_correlation(values, np.zeros(50)) == 0.0


def test_the_slow_variable_captures_all_of_the_time_scale(spiral_runs):
    rng = np.random.default_rng(0)
    found = captured_time_scale(spiral_runs.series, spiral_runs.x[..., None], rng, 0.1)
    # 1,200 units of time, about 300 relaxation times
    assert found.coordinate == pytest.approx(spiral_runs.time_scale, rel=0.25)
    assert found.share > 1 - max(4 * found.stderr, 0.05)
    assert found.share <= 1
    assert found.lag == pytest.approx(0.1)


def test_a_coordinate_that_sees_one_feature_of_a_spiral_loses_most_of_it(spiral_runs):
    rng = np.random.default_rng(0)
    found = captured_time_scale(spiral_runs.series, spiral_runs.series.features[..., :1], rng, 0.1)
    assert found.share < 0.7
    assert found.share + 4 * found.stderr < 1


def test_noise_captures_nothing(spiral_runs):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(*spiral_runs.x.shape, 1))
    assert captured_time_scale(spiral_runs.series, noise, rng, 0.1).share < 0.05


def test_two_trajectories_are_needed_and_values_along_them(spiral_runs):
    rng, series = np.random.default_rng(0), spiral_runs.series
    with pytest.raises(InputError, match="two trajectories"):
        captured_time_scale(TimeSeries(series.features[:, :1], 1.0), spiral_runs.x[:, :1, None], rng)
    with pytest.raises(InputError, match="values"):
        captured_time_scale(series, spiral_runs.x[:-1, :, None], rng)
    with pytest.raises(InputError, match="vary"):
        captured_time_scale(replace(series), np.zeros((*spiral_runs.x.shape, 1)), rng)
