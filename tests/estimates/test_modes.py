"""Modes and coverage of samples whose modes are known."""

import numpy as np
import pytest

from micromacro.errors import InputError
from micromacro.estimates.distances import embed_periodic
from micromacro.estimates.modes import coverage, expected_coverage, find_modes, mode_recall


def two_wells(rng, n, share=0.9, dimension=1):
    """±1 with deviation 0.15 in the first coordinate, unit normals in the others; and which are in the larger well."""
    larger = rng.random(n) < share
    states = rng.normal(size=(n, dimension))
    states[:, 0] = np.where(larger, 1.0, -1.0) + 0.15 * states[:, 0]
    return states, larger


def ring(rng, n):
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * (1 + 0.05 * rng.normal(size=(n, 1)))


def banana(rng, n):
    states = rng.normal(size=(n, 2)) * [1.0, 0.2]
    return states + np.stack([np.zeros(n), states[:, 0] ** 2], axis=1)


ONE_MODE = {
    "normal": lambda rng: rng.normal(size=(1000, 1)),
    "normal in 20 dimensions": lambda rng: rng.normal(size=(800, 20)),
    "ring": lambda rng: ring(rng, 800),
    "banana": lambda rng: banana(rng, 800),
    "box": lambda rng: rng.random((1000, 2)),
    "heavy tails": lambda rng: rng.standard_t(3, size=(1000, 2)),
    "angle across its period": lambda rng: embed_periodic(
        np.mod(0.3 * rng.normal(size=(1000, 1)), 1.0), np.array([1.0])
    ),
    "angle of any value": lambda rng: embed_periodic(rng.random((800, 1)), np.array([1.0])),
    "one point": lambda rng: np.ones((50, 3)),
    "three states": lambda rng: rng.normal(size=(3, 2)),
}


@pytest.mark.parametrize("law", ONE_MODE)
def test_one_mode_is_one(law):
    rng = np.random.default_rng(0)
    found = find_modes(ONE_MODE[law](rng), rng)
    np.testing.assert_array_equal(found.share, [1.0])


@pytest.mark.parametrize("dimension", [1, 20])
def test_two_wells_are_two_modes_of_the_right_shares(dimension):
    rng = np.random.default_rng(1)
    states, larger = two_wells(rng, 1000, dimension=dimension)
    # no coordinate is special
    turn = np.linalg.qr(rng.normal(size=(dimension, dimension)))[0]
    found = find_modes(states @ turn, rng)
    assert found.share == pytest.approx([np.mean(larger), 1 - np.mean(larger)], abs=1e-3)
    assert np.all(np.abs(found.share - [0.9, 0.1]) < 4 * found.stderr)
    fresh, where = two_wells(rng, 1500, 0.4, dimension)
    assert np.mean((found.label(fresh @ turn) == 0) == where) > 0.999


def test_eight_corners_are_eight_modes():
    rng = np.random.default_rng(2)
    states = rng.choice([-1.0, 1.0], size=(2000, 3)) + 0.2 * rng.normal(size=(2000, 3))
    found = find_modes(states, rng)
    assert len(found.share) == 8
    assert np.all(np.abs(found.share - 1 / 8) < 4 * found.stderr)
    # every corner has one label
    assert len({tuple(pair) for pair in np.column_stack([found.label(states), states > 0])}) == 8


def test_a_shallow_valley_counts_when_asked_to():
    rng = np.random.default_rng(3)
    # 0.83 kT deep: e^{-δ²/8} over half of one plus e^{-δ²/2}, with δ = 3.5 between the means
    states = rng.normal(size=(4000, 1)) + 1.75 * rng.choice([-1.0, 1.0], size=(4000, 1))
    assert len(find_modes(states, rng, persistence=1.2).share) == 1
    assert len(find_modes(states, rng, persistence=0.5).share) == 2


def test_a_low_peak_does_not_join_two_high_ones():
    rng = np.random.default_rng(4)
    where = rng.choice([-1.0, 0.0, 1.0], p=[0.47, 0.06, 0.47], size=3000)
    states = (where + np.where(where == 0, 0.35, 0.12) * rng.normal(size=3000))[:, None]
    found = find_modes(states, rng)
    assert np.sum(found.share > 0.3) == 2


def test_weights_count_in_the_shares():
    rng = np.random.default_rng(5)
    states, larger = two_wells(rng, 2000, 0.5)
    weight = np.where(larger, 1.0, 9.0)
    found = find_modes(states, rng, weight)
    assert found.share == pytest.approx([0.9, 0.1], abs=4 * found.stderr[0])
    # fewer count than there are
    assert found.stderr[0] > np.sqrt(0.09 / 2000)
    assert np.median(states[found.label(states) == 0]) < 0


def test_a_faithful_sample_recalls_every_mode_and_a_collapsed_one_does_not():
    rng = np.random.default_rng(6)
    modes = find_modes(two_wells(rng, 1500)[0], rng)
    faithful = mode_recall(modes, two_wells(rng, 500)[0])
    assert faithful.recall == 1.0
    assert len(faithful.missed) == 0
    error = np.hypot(faithful.stderr, faithful.reference_stderr)
    assert np.all(np.abs(faithful.share - faithful.reference_share) < 4 * error)
    collapsed = mode_recall(modes, two_wells(rng, 500, 1.0)[0])
    assert collapsed.recall == 0.5
    np.testing.assert_array_equal(collapsed.missed, [1])
    # none seen of 500: the share is not known to be zero
    assert 0.001 < collapsed.stderr[1] < 0.003
    assert abs(collapsed.share[1] - 0.1) > 10 * collapsed.stderr[1]


def test_rare_modes_are_not_demanded():
    rng = np.random.default_rng(7)
    modes = find_modes(two_wells(rng, 3000, 0.99)[0], rng)
    assert len(modes.share) == 2
    assert mode_recall(modes, two_wells(rng, 500, 1.0)[0]).recall == 1.0


def test_too_few_states():
    with pytest.raises(InputError, match="two or more"):
        find_modes(np.zeros((1, 2)), np.random.default_rng(0))
    modes = find_modes(np.random.default_rng(0).normal(size=(50, 1)), np.random.default_rng(0))
    with pytest.raises(InputError, match="one or more"):
        mode_recall(modes, np.zeros((0, 1)))


def test_states_of_large_weight_are_no_modes():
    rng = np.random.default_rng(12)
    states = 1.5 * rng.normal(size=(2000, 1))
    # of N(3, 1), where there are few: 130 of 2000 states count
    weight = np.exp(-0.5 * (states[:, 0] - 3.0) ** 2 + states[:, 0] ** 2 / 4.5)
    assert len(find_modes(states, rng, weight).share) == 1


@pytest.mark.parametrize(("dimension", "n", "m", "neighbours"), [(1, 100, 100, 5), (6, 80, 200, 3), (2, 150, 40, 1)])
def test_coverage_of_equal_laws_is_that_of_the_closed_form(dimension, n, m, neighbours):
    rng = np.random.default_rng(8)
    pairs = [(rng.normal(size=(n, dimension)), rng.normal(size=(m, dimension))) for _ in range(200)]
    found = [coverage(reference, draws, neighbours) for reference, draws in pairs]
    for values, exact in (
        ([each.coverage for each in found], expected_coverage(n, m, neighbours)),
        ([each.density for each in found], 1.0),
    ):
        assert abs(np.mean(values) - exact) < 4 * np.std(values, ddof=1) / np.sqrt(200)
    assert found[0].expected == expected_coverage(n, m, neighbours)


def test_expected_coverage_of_many_states():
    assert expected_coverage(10**7, 10**7, 5) == pytest.approx(1 - 2**-5, abs=1e-6)


def test_collapsed_and_scattered_draws_show():
    rng = np.random.default_rng(9)
    reference = two_wells(rng, 400, 0.5, 2)[0]
    collapsed = coverage(reference, two_wells(rng, 400, 1.0, 2)[0])
    assert collapsed.coverage < 0.55 < collapsed.expected - 0.3
    scattered = coverage(reference, rng.uniform(-5, 5, size=(400, 2)))
    assert scattered.density < 0.5
    repeated = coverage(reference, np.repeat(reference[:1], 400, axis=0))
    assert repeated.coverage < 0.1


def test_repeated_reference_states_cover_nothing():
    assert coverage(np.repeat(np.eye(2), 10, axis=0), np.eye(2)).coverage == 0.0


def test_too_few_states_to_cover():
    with pytest.raises(InputError, match="more than 5"):
        coverage(np.zeros((5, 1)), np.zeros((5, 1)))
