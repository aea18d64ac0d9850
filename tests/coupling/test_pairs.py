"""Blurred training pairs: spread evenly in ξ, and centred on the condition."""

import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.pairs import LARGEST_WEIGHT, blurred_pairs, padding_cells

WIDTH = np.array([0.2])


def variable(periodic):
    return CoarseVariable(lambda q: q[:1], np.array([-1.0]), np.array([1.0]), (periodic,))


def sloped(count, periodic, rng):
    """ξ with a density that grows fourfold over the range, and beyond its ends where these are open."""
    end = 1.0 if periodic else 2.0
    x = rng.uniform(-end, end, 4 * count)
    return x[rng.random(len(x)) < np.exp(0.7 * x) / np.exp(0.7 * end)][:, None]


@pytest.fixture(scope="module", params=[False, True], ids=["bounded", "periodic"])
def case(request):
    coarse, rng = variable(request.param), np.random.default_rng(0)
    x = sloped(60_000, request.param, rng)
    q = np.concatenate([x, rng.normal(size=x.shape)], axis=1)
    return coarse, x, blurred_pairs(q, x, coarse, WIDTH, rng)


def weighted_slope(x, y, weight):
    """The weighted mean of y, the slope of y against x, and their standard errors between the frames."""
    share = weight / weight.sum()
    mean = share @ y
    centred = x - share @ x
    slope = share @ (centred * (y - mean)) / (share @ centred**2)
    rest = y - mean
    errors = np.sqrt(share**2 @ rest**2), np.sqrt(share**2 @ (centred * rest) ** 2) / (share @ centred**2)
    return np.abs([mean / errors[0], slope / errors[1]])


def test_pairs_are_even_in_the_coarse_variable(case):
    _, x, pairs = case
    counts, _ = np.histogram(pairs.q[:, 0], 20, (-1, 1), weights=pairs.weight)
    share = counts / counts.sum() * 20
    assert np.abs(share - 1).max() < 0.05
    before = np.histogram(x[:, 0], 20, (-1, 1))[0]
    assert before.max() / before.min() > 2


def test_the_coarse_variable_given_the_condition_is_centred_on_it(case):
    coarse, _, pairs = case
    z = pairs.z[:, 0]
    near = np.ones(len(z), bool) if coarse.periodic[0] else np.abs(z) < 0.9
    delta = np.asarray(coarse.difference(pairs.q[:, :1], pairs.z))[:, 0]
    # three copies of a frame are no three frames
    assert weighted_slope(z[near], delta[near], pairs.weight[near]).max() < 4.5
    assert abs(np.sqrt(np.average(delta[near] ** 2, weights=pairs.weight[near])) - WIDTH[0]) < 0.004


def test_without_weights_it_would_not_be(case):
    coarse, _, pairs = case
    near = np.abs(pairs.z[:, 0]) < 0.9
    delta = np.asarray(coarse.difference(pairs.q[:, :1], pairs.z))[near, 0]
    assert weighted_slope(pairs.z[near, 0], delta, np.ones(near.sum())).max() > 10


def test_conditions_are_wrapped_where_periodic_and_frames_reach_beyond_the_range_elsewhere(case):
    coarse, _, pairs = case
    if coarse.periodic[0]:
        assert np.all((pairs.z >= -1) & (pairs.z < 1))
    else:
        reach = 1 + padding_cells(coarse, WIDTH) * 2 / 120
        assert 1.7 < np.abs(pairs.q[:, 0]).max() < reach + 1e-9


def test_other_coordinates_stay_with_their_frame_and_copies_are_blurred_anew(case):
    _, _, pairs = case
    first, second, third = pairs.q.reshape(3, -1, 2)
    assert np.array_equal(first, second)
    assert np.array_equal(first, third)
    z = pairs.z.reshape(3, -1)
    assert np.all(z[0] != z[1])


def test_no_frame_weighs_more_than_its_share():
    coarse, rng = variable(False), np.random.default_rng(1)
    x = np.concatenate([rng.uniform(-0.1, 0.1, 10_000), [0.8]])[:, None]
    pairs = blurred_pairs(x, x, coarse, WIDTH, rng)
    assert pairs.weight.max() <= LARGEST_WEIGHT * np.median(pairs.weight) * (1 + 1e-12)
    assert jnp.all(jnp.isfinite(pairs.weight))
