"""Rounds pooled into one estimate: the answer of coupled rounds is right, with honest errors, where local ones fail."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micromacro.coupling.estimate import (
    Segment,
    conditional_inefficiency,
    equilibrated,
    estimate,
    free_energy_table,
    newest,
)
from micromacro.coupling.rounds import Schedule, coupled_round, local_round, round_cost, schedule_for
from micromacro.coupling.weights import generator_free_energy
from micromacro.sampling.engine import JaxEngine, Tuning
from micromacro.sampling.production import Frames
from micromacro.sampling.windows import Windows
from micromacro.systems.hidden_barrier import hidden_barrier
from micromacro.systems.model import identity

CENTERS = np.linspace(-1.6, 1.6, 5)[:, None]
STIFFNESS, WALKERS = 1 / 0.22**2, 40
SCHEDULE = Schedule(cycles=60, frames=2, interval=5)


def quadrature(windows):
    """Of each window: f, absolute, and the share of the upper well."""
    x, y = np.meshgrid(np.linspace(-2.6, 2.6, 521), np.linspace(-2, 2, 401), indexing="ij")
    log_density = -(4 * (x**2 - 1) ** 2 + 12 * (y**2 - 1) ** 2 + 1.5 * x * y)
    f, upper = [], []
    for center in np.asarray(windows.centers)[:, 0]:
        weight = np.exp(log_density - 0.5 * float(windows.stiffness[0]) * (x - center) ** 2)
        f.append(-np.log(weight.sum() * 1e-4))
        upper.append(weight[y > 0].sum() / weight.sum())
    return np.array(f), np.array(upper)


@pytest.fixture(scope="module")
def setting(barrier):
    windows = Windows(
        jnp.asarray(CENTERS),
        jnp.array([STIFFNESS]),
        replace(barrier.windows.flattening, coefficients=jnp.zeros_like(barrier.windows.flattening.coefficients)),
    )
    # every walker begins in the lower well
    positions = jnp.broadcast_to(jnp.asarray(np.column_stack([CENTERS, -np.ones(5)]))[:, None], (5, WALKERS, 2))
    return windows, positions, Tuning(jnp.full(5, 0.3), jnp.broadcast_to(jnp.diag(jnp.array([0.15, 0.15])), (5, 2, 2)))


@pytest.fixture(scope="module")
def coupled(barrier, proposals, setting):
    engine = JaxEngine(hidden_barrier().system, barrier.coarse)
    windows, positions, tuning = setting
    generator = proposals.wells(0.75, (0.25, 0.25))
    found = coupled_round(engine, generator, windows, positions, tuning, SCHEDULE, jax.random.key(0))
    assert engine.evaluations == round_cost(5, WALKERS, SCHEDULE, coupled=True)
    segment = equilibrated(identity, windows, found.frames)
    return found, replace(segment, log_weight=found.log_weight, log_weight_before=found.log_weight_before)


@pytest.fixture(scope="module")
def joined(barrier, coupled):
    return estimate(barrier.coarse, [coupled[1]], 20)


def well_scores(windows, frames):
    """How many standard errors between walkers the share of the upper well is from the truth."""
    share = (frames.position[..., 1] > 0).mean(axis=0)
    error = np.maximum(share.std(axis=1), 1e-3) / np.sqrt(WALKERS)
    return np.abs(share.mean(axis=1) - quadrature(windows)[1]) / error


def test_a_coupled_round_has_the_right_wells_though_all_walkers_began_in_one(setting, coupled):
    found, segment = coupled
    assert found.jump.shape == (5,)
    assert found.jump.min() > 0.02
    assert found.log_weight.shape == found.log_weight_before.shape == (60, 5, WALKERS)
    assert well_scores(setting[0], found.frames)[segment.first < 40].max() < 5


def test_a_local_round_does_not(barrier, setting):
    engine = JaxEngine(hidden_barrier().system, barrier.coarse)
    found = local_round(engine, *setting, SCHEDULE, jax.random.key(0), exchange=True)
    assert engine.evaluations == round_cost(5, WALKERS, SCHEDULE, coupled=False)
    assert found.jump is None
    assert well_scores(setting[0], found.frames).max() > 10


@pytest.mark.parametrize("route", ["alone", "mbar"])
def test_free_energies_of_windows_are_right_within_their_errors(setting, joined, route):
    mbar = getattr(joined, route)
    exact = quadrature(setting[0])[0]
    influence = mbar.influence - mbar.influence[[0]]
    error = np.sqrt(np.sum(influence[1:] ** 2, axis=1))
    deviation = np.abs(mbar.free_energy[1:] - (exact[1:] - exact[0])) / error
    assert deviation.max() < 4.5
    assert error.max() < 0.2


def test_the_generator_makes_them_more_certain(joined):
    spread = [np.sum((one.influence[-1] - one.influence[0]) ** 2) for one in (joined.alone, joined.mbar)]
    assert spread[1] < 0.5 * spread[0]


def test_the_weights_of_the_moves_tell_the_same_free_energies(setting, coupled):
    own = generator_free_energy(np.moveaxis(coupled[0].log_weight, 1, 2).reshape(-1, 5))
    assert np.all(np.abs(own.free_energy - quadrature(setting[0])[0]) < 4.5 * own.stderr)


@pytest.mark.parametrize("broken", ["shifted in one window", "of the other states"])
def test_a_density_that_lies_moves_the_bridged_answer(barrier, setting, coupled, broken):
    """The bridge hears what the moves say: without it these mistakes could not be seen."""
    segment = coupled[1]
    shift = np.zeros((1, 5, 1))
    shift[0, 2] = 1.0
    wrong = (
        replace(segment, log_weight=segment.log_weight + shift, log_weight_before=segment.log_weight_before + shift)
        if broken == "shifted in one window"
        else replace(segment, log_weight_before=segment.log_weight_before[:, ::-1])
    )
    found, exact = estimate(barrier.coarse, [wrong], 20), quadrature(setting[0])[0]
    assert np.abs(found.mbar.free_energy - (exact - exact[0])).max() > 0.3
    assert np.abs(found.alone.free_energy - (exact - exact[0])).max() < 0.3


def test_the_surface_is_right_within_its_errors(joined):
    surface = joined.surface
    exact = hidden_barrier().exact.free_energy(surface.grid.points)
    low = np.isfinite(surface.free_energy) & (exact - exact.min() < 5) & (np.abs(surface.grid.points[:, 0]) < 1.5)
    assert low.sum() > 60
    error = (surface.free_energy - exact)[low]
    scores = (error - error.mean()) / surface.stderr[low]
    assert np.sqrt(np.mean(scores**2)) < 2
    assert np.abs(scores).max() < 5


def test_flat_weights_spread_the_pool_evenly(joined):
    counts, _ = np.histogram(joined.pool.coarse[:, 0], 15, (-1.5, 1.5), weights=joined.flat_weight)
    assert np.abs(counts / counts.mean() - 1).max() < 0.35
    before, _ = np.histogram(joined.pool.coarse[:, 0], 15, (-1.5, 1.5))
    assert before.max() > 3 * before.min()


def test_equal_windows_of_two_rounds_are_one_state_and_others_are_not(barrier, setting, coupled):
    segment = coupled[1]
    other = replace(segment, windows=replace(segment.windows, stiffness=segment.windows.stiffness * 1.0001))
    twice = estimate(barrier.coarse, [segment, segment], 0)
    assert len(twice.mbar.free_energy) == 5
    np.testing.assert_allclose(twice.mbar.counts, 2 * estimate(barrier.coarse, [segment], 0).mbar.counts)
    assert len(estimate(barrier.coarse, [segment, other], 0).mbar.free_energy) == 10


def test_frames_before_equilibrium_are_cut(coupled):
    found, segment = coupled
    position = found.frames.position.copy()
    position[:30, 2, :, 1] = -3.0
    moved = equilibrated(identity, segment.windows, replace(found.frames, position=position))
    assert moved.first[2] >= 25
    assert moved.first[0] == segment.first[0]


def test_what_the_coarse_variable_explains_does_not_count_as_slow(barrier, setting, coupled):
    found, segment = coupled
    frames = found.frames
    slow = np.broadcast_to(np.linspace(-1, 1, len(frames.position))[:, None, None], frames.log_density.shape)
    fast = np.random.default_rng(0).normal(size=slow.shape)
    made = replace(
        frames, position=np.stack([slow, 3 * slow + fast], axis=-1), coarse=slow[..., None], log_density=fast.copy()
    )
    one = Segment(segment.windows, made, np.zeros(5, int))
    assert conditional_inefficiency(identity, barrier.coarse, one) < 1.5
    blind = replace(made, coarse=np.zeros_like(made.coarse))
    assert conditional_inefficiency(identity, barrier.coarse, replace(one, frames=blind)) > 10
    assert conditional_inefficiency(identity, barrier.coarse, replace(one, weight=np.ones(slow.shape))) == 1.0


def test_a_table_of_the_free_energy_goes_through_the_surface(joined):
    table = free_energy_table(joined.surface)
    known = np.isfinite(joined.surface.free_energy)
    at = np.asarray(jax.vmap(table)(jnp.asarray(joined.surface.grid.points)))
    np.testing.assert_allclose(at[known], joined.surface.free_energy[known], atol=1e-9)
    smooth = np.asarray(jax.vmap(free_energy_table(joined.surface, 2.0))(jnp.asarray(joined.surface.grid.points)))
    assert np.abs(np.diff(smooth, 2)).max() < np.abs(np.diff(at, 2)).max()


@pytest.mark.parametrize(("steps", "cycles", "batch"), [(3000, 100, 500), (7, 100, 10), (10_000, 50, 40_000)])
def test_a_schedule_holds_the_steps_asked_for(steps, cycles, batch):
    found = schedule_for(steps, cycles, batch)
    assert found.steps <= steps
    assert found.steps >= 0.5 * steps
    assert found.cycles * found.frames * batch <= max(160_000, found.cycles * batch)


@pytest.mark.parametrize(("steps", "batch"), [(4_300_000, 1536), (10**8, 1536), (10**7, 200_000), (40 * 50_000, 1)])
def test_long_cycles_become_more_of_them_as_far_as_frames_fit(steps, batch):
    found = schedule_for(steps, 40, batch)
    assert found.cycles * found.frames * batch <= max(160_000, 40 * batch)
    assert found.frames * found.interval <= 50_000 or found.cycles == max(40, 160_000 // batch)
    assert 0.9 * steps <= found.steps + found.cycles <= steps + 40


@pytest.mark.parametrize("steps", [10, 4000, 40 * 50_000])
def test_shorter_cycles_stay_as_many_as_asked_for(steps):
    assert schedule_for(steps, 40, 1536).cycles == min(40, steps)


@given(
    steps=st.integers(1, 10**6),
    cycles=st.integers(1, 200),
    batch=st.integers(1, 10**5),
    longest=st.integers(1, 100),
)
@settings(deadline=None)
def test_moves_that_are_added_cost_nothing_more(steps, cycles, batch, longest):
    found = schedule_for(steps, cycles, batch, longest_cycle=longest)
    asked = min(cycles, steps)
    assert found.steps + found.cycles <= steps + asked
    assert found.cycles * found.frames * batch <= max(160_000, asked * batch)
    room = min(160_000 // batch, (steps + asked) // 2)
    assert found.frames * found.interval <= longest or found.cycles >= max(asked, min(room, -(-steps // longest)))


@pytest.mark.parametrize(("steps", "cycles"), [(5600, 100), (2600, 100), (30_000, 100), (120, 40), (20, 100)])
def test_frames_are_as_far_apart_as_asked_for(steps, cycles):
    found = schedule_for(steps, cycles, batch=300, least_interval=50)
    assert found.interval >= min(50, steps)
    assert 0.5 * steps <= found.steps <= steps


@pytest.mark.parametrize(("most", "count"), [(10**6, 3), (6 * 50, 2), (6 * 49, 1), (6, 1)])
def test_the_last_rounds_that_fit_are_learned_from(setting, most, count):
    windows = setting[0]
    shapes = [(frames, 2, 3) for frames in (10, 20, 30)]
    frames = [Frames(np.zeros((*one, 2)), np.zeros((*one, 1)), np.zeros(one), np.ones(2)) for one in shapes]
    segments = [Segment(windows, one, np.zeros(2, int)) for one in frames]
    found = newest(segments, most)
    assert len(found) == count
    assert all(one is other for one, other in zip(found, segments[-count:], strict=True))
    assert newest([], most) == []
