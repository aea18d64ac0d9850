"""Correlation and mixing against series whose answers are known."""

import numpy as np
import pytest

from micromacro.estimates.correlation import (
    effective_sample_size,
    equilibration_time,
    group_rhat,
    kish_sample_size,
    split_rhat,
    statistical_inefficiency,
)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9, 0.97])
def test_the_inefficiency_of_an_autoregression(known, memory):
    exact = (1 + memory) / (1 - memory)
    rng = np.random.default_rng(0)
    found = [statistical_inefficiency(known.ar1(rng, (4000, 8), memory)) for _ in range(20)]
    error = np.std(found, ddof=1) / np.sqrt(20)
    # ending at the first negative pair leaves a bias of a few per cent; that of 4,000 frames, g/4000, is below it
    assert abs(np.mean(found) - exact) < 4 * error + 0.03 * exact
    assert error < 0.04 * exact


def test_the_inefficiency_gives_the_error_of_a_mean(known):
    rng = np.random.default_rng(1)
    series = [known.ar1(rng, (500, 6), 0.8) for _ in range(200)]
    z = [one.mean() * np.sqrt(effective_sample_size(one) / np.var(one)) for one in series]
    # chains of 500 frames are known through their own noisy inefficiency: half a per cent of it biases the mean square
    assert known.honest(np.array(z))
    assert not known.honest([one.mean() * np.sqrt(one.size / np.var(one)) for one in series])


def test_an_alternating_series_counts_as_independent(known):
    series = known.ar1(np.random.default_rng(2), (2000, 4), -0.7)
    assert statistical_inefficiency(series) == 1.0


@pytest.mark.parametrize("frames", [200, 1000])
def test_chains_stuck_apart_count_as_one_frame_each(known, frames):
    rng = np.random.default_rng(3)
    stuck = np.array([-10.0, 10.0, -10.0, 10.0]) + 0.1 * rng.normal(size=(frames, 4))
    assert 0.9 * frames < statistical_inefficiency(stuck) <= frames
    assert effective_sample_size(stuck) < 4.5
    # each chain for itself looks perfectly mixed: it is the common mean that tells
    assert max(statistical_inefficiency(stuck[:, [k]]) for k in range(4)) < 2


def test_a_constant_or_a_single_frame_counts_in_full():
    assert statistical_inefficiency(np.ones((50, 3))) == 1.0
    assert statistical_inefficiency(np.array([[1.0, 2.0]])) == 1.0


def test_the_inefficiency_does_not_depend_on_scale_and_offset(known):
    series = known.ar1(np.random.default_rng(4), (500, 3), 0.7)
    assert statistical_inefficiency(1e4 + 1e3 * series) == pytest.approx(statistical_inefficiency(series), rel=1e-6)


def test_a_transient_is_cut_and_little_else(known):
    rng = np.random.default_rng(5)
    cuts = []
    for _ in range(20):
        series = known.ar1(rng, (1000, 2), 0.5)
        series[:, 1] += 30 * np.exp(-np.arange(1000) / 40)
        cuts.append(equilibration_time(series))
    # 30 e^(-t/40) has fallen to one standard deviation after 136 frames, to a tenth of it after 228
    assert min(cuts) > 100
    assert np.median(cuts) < 300


def test_a_stationary_series_is_hardly_cut(known):
    rng = np.random.default_rng(6)
    cuts = [equilibration_time(known.ar1(rng, (1000, 1), 0.5)) for _ in range(50)]
    assert np.median(cuts) <= 100
    assert max(cuts) <= 600


def test_a_step_is_cut_where_it_ends():
    series = np.random.default_rng(7).normal(size=(1000, 1))
    series[:250] += 8
    # candidates lie 31 or 32 frames apart
    assert 250 <= equilibration_time(series) <= 315


def test_rhat_is_near_one_for_independent_numbers_and_not_below_its_scatter():
    rng = np.random.default_rng(8)
    found = np.array([split_rhat(rng.normal(size=(1000, 4))) for _ in range(50)])
    # the 8 halves' means give (within + between)/within: 1 + χ²(7)/7/500/2 - 1/1000 in the mean
    assert abs(found.mean() - 1.0) < 5e-4
    assert found.max() < 1.01


def test_rhat_is_large_for_stuck_chains_and_for_drift():
    rng = np.random.default_rng(9)
    noise = rng.normal(size=(1000, 4))
    assert split_rhat(noise + 3 * np.array([-1, -1, 1, 1])) > 1.5
    # a chain that drifts disagrees with its own other half
    assert split_rhat(noise + np.linspace(-3, 3, 1000)[:, None]) > 1.4
    # all of the variance is between the chains
    apart = np.zeros((1000, 2)) + np.array([0.0, 1.0])
    assert split_rhat(apart) > 1e6
    assert split_rhat(np.ones((100, 3))) == 1.0


def test_rhat_is_invariant_under_increasing_maps_and_blind_to_heavy_tails():
    rng = np.random.default_rng(10)
    series = rng.normal(size=(600, 4)) + np.array([0.0, 0.2, 0.0, 0.0])
    assert split_rhat(series) == pytest.approx(split_rhat(np.exp(3 * series)), rel=1e-12)
    assert split_rhat(rng.standard_cauchy((1000, 4))) < 1.01


def test_group_rhat_sees_a_difference_that_many_chains_drown():
    """200 chains of 20 frames in two groups whose means differ by a little less than a standard deviation."""
    rng = np.random.default_rng(11)
    group = np.arange(200) % 2
    # chains vary among themselves by as much as the groups do
    series = rng.normal(size=(20, 200)) + 0.8 * group
    apart, mixed = group_rhat(series, group), group_rhat(rng.normal(size=(20, 200)), group)
    # two groups of variance within w and 0.8 apart: √(1 + 0.16 · 4/3 / w), w = 1 + 0.16 - 0.16
    assert apart == pytest.approx(np.sqrt(1 + 0.16 * 4 / 3), abs=0.02)
    assert mixed < 1.005
    assert group_rhat(series, rng.permutation(group)) < 1.02


def test_group_rhat_takes_groups_of_unequal_size():
    rng = np.random.default_rng(12)
    group = np.array([0, 0, 0, 0, 0, 7, 7])
    assert group_rhat(rng.normal(size=(800, 7)), group) < 1.01
    assert group_rhat(rng.normal(size=(800, 7)) + 2 * (group == 7), group) > 1.3


def test_kish_counts_equal_weights_in_full():
    assert kish_sample_size(np.full(10, 0.3)) == pytest.approx(10)
    assert kish_sample_size(np.array([1.0, 0.0, 0.0])) == 1.0
    assert kish_sample_size(np.array([3.0, 1.0])) == pytest.approx(1.6)
    assert kish_sample_size(np.zeros(4)) == 0.0
