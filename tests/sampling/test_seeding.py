"""Exploration, and walkers drawn from every start to every window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.seeding import (
    Exploration,
    exploration_cost,
    explore,
    no_windows,
    pull,
    pull_cost,
    start_labels,
)
from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import Windows, grid_centers

WELLS = np.array([[-1.0, -1.0], [1.0, 1.0], [1.0, -1.0]])


def wells(q):
    """Barriers of 10 and 20: neither is crossed in a short run."""
    return 10 * (q[0] ** 2 - 1) ** 2 + 20 * (q[1] ** 2 - 1) ** 2


@pytest.fixture(scope="module")
def explored(known):
    coarse = known.coarse_variable([-1.5], [1.5], (False,))
    engine = JaxEngine(known.system(wells, WELLS), coarse)
    exploration = explore(engine, coarse, WELLS, 16, jax.random.key(0))
    return coarse, engine.evaluations, exploration


def test_exploration_stays_in_its_wells_and_costs_what_it_says(explored):
    _, evaluations, exploration = explored
    assert evaluations == exploration_cost(3, 16)
    assert exploration.position.shape[1:] == (3, 16, 2)
    signs = np.sign(exploration.position).mean(axis=(0, 2))
    np.testing.assert_array_equal(signs, np.sign(WELLS))


def test_exploration_learns_the_scales_of_a_well(known, explored):
    exploration = explored[2]

    def spread(barrier):
        moments = known.line_average(
            lambda y: -barrier * (y**2 - 1) ** 2, lambda y: np.stack([y, y**2], axis=-1), 0.0, 3.0
        )
        return np.sqrt(moments[1] - moments[0] ** 2)

    expected = np.array([spread(10), spread(20)])
    # the smallest of three estimates from 16 walkers in 20 correlated frames
    assert abs(exploration.spread[0] / expected[0] - 1) < 0.25
    found = np.sqrt(np.diag(exploration.scale @ exploration.scale.T))
    assert np.abs(found / expected - 1).max() < 0.35
    assert 0.05 < exploration.step_size < 10


def test_no_window_adds_nothing(known):
    coarse = known.coarse_variable([-1.5], [1.5], (False,))
    engine = JaxEngine(known.system(wells, WELLS), coarse)
    walkers = engine.start(no_windows(coarse, 3), jnp.asarray(WELLS)[:, None] * 1.1)
    np.testing.assert_allclose(walkers.log_target, walkers.log_density)
    np.testing.assert_allclose(walkers.gradient[:, 0], jax.vmap(jax.grad(lambda q: -wells(q)))(1.1 * WELLS), rtol=1e-9)


def test_walkers_from_every_start_reach_every_centre(known, explored):
    coarse, _, exploration = explored
    engine = JaxEngine(known.system(wells, WELLS), coarse)
    windows = Windows(jnp.asarray(grid_centers(coarse, 7)), jnp.array([60.0]), zero_table(coarse, 20))
    position = np.asarray(pull(engine, coarse, windows, WELLS, 12, exploration, jax.random.key(1)))
    assert engine.evaluations == pull_cost(7, 12)
    assert position.shape == (7, 12, 2)
    # within a window the distribution of x is known: mean and spread about it
    for center, walkers in zip(np.asarray(windows.centers)[:, 0], position, strict=True):
        moments = known.line_average(
            lambda x, c=center: -10 * (x**2 - 1) ** 2 - 30 * (x - c) ** 2, lambda x: np.stack([x, x**2], axis=-1)
        )
        spread = np.sqrt(moments[1] - moments[0] ** 2)
        assert np.abs(walkers[:, 0] - moments[0]).max() < 4.5 * spread
    # and the hidden wells of the starts are kept, in equal shares
    label = start_labels(3, 12)
    assert np.array_equal(np.bincount(label), [4, 4, 4])
    np.testing.assert_array_equal(np.sign(position[:, :, 1]), np.broadcast_to(np.sign(WELLS[label, 1]), (7, 12)))


def test_the_way_is_the_shortest_one_round(known):
    """A wall across the period at π/2 stops whoever goes the long way; V has no other force on the angle."""
    coarse = known.coarse_variable([-np.pi], [np.pi], (True,))
    start = np.array([[3.0, 0.0], [-3.0, 0.0]])

    def wall(q):
        return 300 * jnp.exp(-0.5 * ((jnp.mod(q[0], 2 * np.pi) - np.pi / 2) / 0.1) ** 2) + 0.5 * q[1] ** 2

    engine = JaxEngine(known.system(wall, start), coarse)
    exploration = Exploration(start[None, :, None, :], start[None, :, None, :1], 0.05, np.eye(2), np.array([0.1]))
    centers = np.array([-3.0, -2.5, -1.5, 2.8])
    windows = Windows(jnp.asarray(centers)[:, None], jnp.array([40.0]), zero_table(coarse, 20))
    position = np.asarray(pull(engine, coarse, windows, start, 8, exploration, jax.random.key(2)))
    away = np.asarray(coarse.difference(jnp.asarray(position[..., :1]), jnp.asarray(centers)[:, None, None]))
    # the walls of a window: standard deviation 0.16
    assert np.abs(away).max() < 4.5 / np.sqrt(40)
    # unwrapped, whoever started at 3 went up through π, by less than half a turn, and nobody went the other way
    travelled = position[..., 0] - start[start_labels(2, 8), 0]
    assert np.abs(travelled).max() < np.pi
    direct = np.asarray(
        coarse.difference(jnp.asarray(centers)[:, None], jnp.asarray(start[start_labels(2, 8), 0])[None])
    )
    np.testing.assert_allclose(travelled, direct, atol=4.5 / np.sqrt(40))


def test_starts_have_equal_shares():
    np.testing.assert_array_equal(start_labels(3, 7), [0, 1, 2, 0, 1, 2, 0])
