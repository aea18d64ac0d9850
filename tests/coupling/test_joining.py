"""Rounds with copies of windows: pooled as the same chains, judged as one segment, counted by their steps."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.allocation import columns_of
from micromacro.coupling.estimate import Segment, estimate
from micromacro.coupling.joining import joined
from micromacro.sampling.production import Frames
from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import Windows
from micromacro.systems.model import identity

LINE = CoarseVariable(lambda q: q[:1], np.array([-2.0]), np.array([2.0]), (False,))
WINDOWS = Windows(jnp.array([[-0.5], [0.5]]), jnp.array([4.0]), zero_table(LINE, 8))
WALKERS = 6


def segment(rng, copies, frames: int = 40, interval: int = 1) -> Segment:
    """Exact independent draws of a harmonic well of unit stiffness under the windows."""
    columns = columns_of(np.array(copies))
    mean = 4.0 * np.array([-0.5, 0.5])[columns] / 5.0
    position = rng.normal(mean[None, :, None], 1 / np.sqrt(5.0), (frames, len(columns), WALKERS))[..., None]
    found = Frames(position, position, -0.5 * position[..., 0] ** 2, np.ones(len(columns)))
    return Segment(WINDOWS, found, np.zeros(len(columns), int), window=columns, interval=interval)


def test_copies_are_states_and_chains_of_their_window():
    rng = np.random.default_rng(0)
    found = estimate(LINE, [segment(rng, [1, 1]), segment(rng, [1, 3])], 0)
    assert len(found.mbar.counts) == 2
    np.testing.assert_allclose(found.mbar.counts, [80 * WALKERS, 160 * WALKERS])
    assert found.mbar.influence.shape == (2, 2 * WALKERS)
    # equal wells left and right: both windows have the same free energy
    stderr = np.sqrt(np.sum(found.mbar.influence[1] ** 2))
    assert abs(found.mbar.free_energy[1]) < 4 * stderr


def test_frames_count_by_the_steps_that_they_stand_for():
    rng = np.random.default_rng(1)
    found = estimate(LINE, [segment(rng, [1, 1], interval=2), segment(rng, [1, 1], interval=6)], 0)
    np.testing.assert_allclose(found.mbar.counts, (40 + 3 * 40) * WALKERS)
    assert segment(rng, [1, 3], interval=6).work.tolist() == [40 * 6 * WALKERS, 3 * 40 * 6 * WALKERS]


def test_what_is_judged_has_each_window_once_over_all_rounds_under_one_bias():
    rng = np.random.default_rng(2)
    first, second = segment(rng, [1, 1]), segment(rng, [2, 3])
    found = joined(identity, [first, second])
    assert found.window is None
    assert found.frames.position.shape == (80, 2, WALKERS, 1)
    np.testing.assert_array_equal(found.frames.position[:40], first.frames.position)
    np.testing.assert_array_equal(found.frames.position[40:], second.frames.position[:, [0, 2]])


def test_rounds_under_another_bias_are_not_joined():
    rng = np.random.default_rng(3)
    other = Windows(WINDOWS.centers + 0.1, WINDOWS.stiffness, WINDOWS.flattening)
    found = joined(identity, [replace(segment(rng, [1, 1]), windows=other), segment(rng, [1, 2])])
    assert found.frames.position.shape == (40, 2, WALKERS, 1)


def test_rounds_of_wider_frames_are_judged_at_equal_distance():
    rng = np.random.default_rng(4)
    close, wide = segment(rng, [1, 1], interval=2), segment(rng, [1, 1], interval=8)
    found = joined(identity, [close, wide])
    assert found.interval == 8
    np.testing.assert_array_equal(found.frames.position[:10], close.frames.position[::4])
    np.testing.assert_array_equal(found.frames.position[10:], wide.frames.position)


def test_a_short_last_round_does_not_make_earlier_ones_look_close():
    rng = np.random.default_rng(5)
    wide, close = segment(rng, [1, 1], interval=8), segment(rng, [1, 1], interval=2)
    found = joined(identity, [wide, close])
    assert found.interval == 8
    np.testing.assert_array_equal(found.frames.position[:40], wide.frames.position)
    np.testing.assert_array_equal(found.frames.position[40:], close.frames.position[::4])


def test_frames_count_by_how_many_of_them_are_independent():
    rng = np.random.default_rng(6)
    first = replace(segment(rng, [1, 1], interval=2), independence=0.2)
    second = replace(segment(rng, [1, 3], interval=100), independence=0.8)
    found = estimate(LINE, [first, second], 0)
    np.testing.assert_allclose(found.mbar.counts, [(40 + 4 * 40) * WALKERS, (40 + 12 * 40) * WALKERS])
    np.testing.assert_allclose(second.information, [0.8 * 40 * WALKERS, 0.8 * 3 * 40 * WALKERS])


def test_an_estimate_that_begins_from_an_earlier_one_is_the_same():
    rng = np.random.default_rng(7)
    rounds = [segment(rng, [1, 1], frames=200), segment(rng, [1, 1], frames=200)]
    again = estimate(LINE, rounds, 0, estimate(LINE, rounds[:1], 0))
    np.testing.assert_allclose(again.mbar.free_energy, estimate(LINE, rounds, 0).mbar.free_energy, atol=1e-9)
    other = replace(rounds[0], windows=Windows(WINDOWS.centers + 0.1, WINDOWS.stiffness, WINDOWS.flattening))
    elsewhere = estimate(LINE, rounds, 0, estimate(LINE, [other], 0))
    np.testing.assert_array_equal(elsewhere.mbar.free_energy, estimate(LINE, rounds, 0).mbar.free_energy)
