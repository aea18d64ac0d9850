"""A generator without a density seeds, the physics relaxes, and walkers that stay where they began are noticed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coupling import checks
from micromacro.coupling.estimate import Segment
from micromacro.coupling.rounds import Schedule
from micromacro.coupling.seeding import nearest_labels, seed, seeded_round, with_added
from micromacro.plan import round_overhead
from micromacro.sampling.engine import Tuning

WALKERS = 24


class Broken(eqx.Module):
    """Nothing that can be simulated."""

    def sample(self, z, key):
        return jnp.full(2, jnp.nan)


@pytest.fixture(scope="module")
def positions(barrier):
    return barrier.start(WALKERS, np.random.default_rng(0))


@pytest.fixture(scope="module")
def seeded(barrier, proposals, positions):
    """A round from a sampler that puts three quarters of the walkers in the upper well, everywhere."""
    labels = np.asarray(positions[..., 1] > 0, int)
    windows = barrier.windows
    scale = jnp.broadcast_to(jnp.diag(jnp.array([0.2, 0.1])), (windows.count, 2, 2))
    tuning, schedule = Tuning(jnp.full(windows.count, 0.5), scale), Schedule(10, 5, 4)
    sampler = proposals.wells(0.75, (0.2, 0.1))
    return seeded_round(barrier.engine, sampler, windows, positions, labels, tuning, schedule, jax.random.key(1))


def test_draws_become_seeds_and_cost_one_evaluation_each(barrier, proposals, positions):
    before = barrier.engine.evaluations
    sampler = proposals.wells(1.0, (0.1, 0.1))
    seeds = np.asarray(seed(barrier.engine, sampler, barrier.windows, positions, jax.random.key(0)))
    assert barrier.engine.evaluations - before == barrier.windows.count * WALKERS
    assert np.all(seeds[..., 1] > 0)
    offset = seeds[..., 0] - np.asarray(barrier.windows.centers)
    assert np.abs(offset.mean()) < 4.5 * 0.1 / np.sqrt(offset.size)


def test_a_walker_whose_draw_cannot_be_simulated_keeps_its_place(barrier, positions):
    seeds = seed(barrier.engine, Broken(), barrier.windows, positions, jax.random.key(0))
    assert np.array_equal(seeds, positions)


def test_walkers_are_labelled_by_the_well_that_they_were_seeded_in(seeded):
    assert seeded.start.shape == seeded.last.shape[:2]
    # nobody crosses a barrier of 12 kT in such a time
    assert np.array_equal(seeded.start == 1, seeded.last[..., 1] > 0)
    assert abs(np.mean(seeded.start) - 0.75) < 4.5 * np.sqrt(0.75 * 0.25 / seeded.start.size)


def test_a_seeded_round_that_does_not_mix_fails_its_check(barrier, seeded):
    frames = seeded.frames
    segment = Segment(barrier.windows, frames, np.zeros(barrier.windows.count, int), start=seeded.start)
    check = checks.mixing(lambda state: state, segment, np.zeros(WALKERS, int))
    assert check.passed is False
    assert check.value > 1.5


def test_the_nearest_known_state_of_the_same_window_gives_the_label():
    known = np.array([[[0.0, 0.0], [1.0, 0.0]], [[5.0, 0.0], [6.0, 0.0]]])
    states = np.array([[[0.9, 0.1], [-3.0, 0.0]], [[5.1, 0.0], [9.0, 0.0]]])
    assert nearest_labels(known, np.array([[0, 1], [0, 1]]), states).tolist() == [[1, 0], [0, 1]]


def test_walkers_of_added_windows_take_the_label_of_the_nearest_of_all():
    states = np.array([[[0.0, 0.0], [0.1, 1.0]], [[5.0, 0.0], [5.1, 1.0]], [[2.5, 0.9], [2.5, 0.1]]])
    labels = np.array([[0, 1], [0, 1]])
    assert with_added(states, labels).tolist() == [[0, 1], [0, 1], [1, 0]]
    assert with_added(states[:2], labels) is labels


def test_a_seeded_round_costs_what_the_plan_counts(barrier, proposals, positions):
    windows = barrier.windows
    scale = jnp.broadcast_to(jnp.diag(jnp.array([0.2, 0.1])), (windows.count, 2, 2))
    tuning, schedule = Tuning(jnp.full(windows.count, 0.5), scale), Schedule(2, 1, 3)
    labels, before = np.zeros((windows.count, WALKERS), int), barrier.engine.evaluations
    seeded_round(barrier.engine, Broken(), windows, positions, labels, tuning, schedule, jax.random.key(1))
    per_walker = (barrier.engine.evaluations - before) / (windows.count * WALKERS)
    assert per_walker == schedule.steps + round_overhead(2, coupled=True, seeded=True)
