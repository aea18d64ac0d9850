"""Slow variables seen through unknown maps: the plain diffusion map fails, the metric of the noise finds them."""

import pytest

from benchmarks.half_moon_map import Trial, attempt, half_moon_blind, plain, three_hidden


@pytest.mark.parametrize("scale", [0.075, 0.25, 1.25])
def test_plain_map_fails_to_order_the_slow_variable(scale):
    assert plain(half_moon_blind(), False, 0, scale, 1500).points < 0.92


@pytest.mark.parametrize("even", [False, True])
def test_metric_of_bursts_orders_it_at_the_points_and_elsewhere(even):
    """3,000 points, of the stationary density or spread evenly with weights, and 3,000 fresh ones."""
    quality, _ = attempt(half_moon_blind(), Trial(even=even), 0)
    assert quality.points > 0.999
    assert quality.fresh > 0.999
    assert quality.residual < 0.01


@pytest.mark.parametrize("even", [False, True])
def test_one_slow_of_three_hidden_variables_in_five_features(even):
    blind = three_hidden()
    assert plain(blind, even, 1, points=1500).points < 0.93
    quality, _ = attempt(blind, Trial(even=even), 1)
    assert quality.points > 0.99
    assert quality.fresh > 0.99
