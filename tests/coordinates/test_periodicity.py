"""Periodic coordinates are found where the physics repeats, and nowhere else."""

import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.periodicity import find_state_space
from micromacro.systems.model import OverdampedSystem, StochasticSystem

START = np.array([[0.3, -1.0], [1.0, 2.0]])


def angle(index=1, period=2 * np.pi, periodic=True, factor=1.0):
    lower = np.array([-period / 2])
    return CoarseVariable(lambda q: factor * q[index : index + 1], lower, lower + period, (periodic,))


def periodic_potential(q):
    return q[0] ** 2 + jnp.cos(q[1]) + 0.3 * q[0] * jnp.sin(2 * q[1])


def test_an_angle_on_a_periodic_potential_is_found():
    found = find_state_space(OverdampedSystem(periodic_potential, 2, START), angle())
    assert found.periodic == (False, True)
    assert found.period.tolist() == [np.inf, 2 * np.pi]
    assert found.lower[1] == -np.pi


@pytest.mark.parametrize(
    ("potential", "coarse"),
    [
        pytest.param(lambda q: periodic_potential(q) + 1e-3 * q[1] ** 2, angle(), id="potential grows"),
        pytest.param(lambda q: q[0] ** 2 + jnp.cos(q[1] / 2), angle(), id="potential repeats after two turns"),
        pytest.param(periodic_potential, angle(periodic=False), id="variable is bounded"),
        pytest.param(periodic_potential, angle(period=6.0), id="another period"),
        pytest.param(lambda q: q[0] ** 2, angle(0), id="nothing depends on the second coordinate"),
    ],
)
def test_nothing_is_found_where_the_physics_does_not_repeat(potential, coarse):
    found = find_state_space(OverdampedSystem(potential, 2, START), coarse)
    assert not any(found.periodic)


def test_hidden_angles_and_multiples_of_them_are_found():
    hidden = find_state_space(OverdampedSystem(periodic_potential, 2, START), angle(0, periodic=False))
    assert hidden.lower == (-np.inf, -np.pi)
    assert find_state_space(OverdampedSystem(periodic_potential, 2, START), angle(factor=2.0)).periodic == (False, True)


def test_a_coordinate_that_no_physics_repeats_over_is_not_periodic():
    polar = CoarseVariable(lambda q: jnp.arctan2(q[1:], q[:1]), np.array([-np.pi]), np.array([np.pi]), (True,))
    found = find_state_space(OverdampedSystem(lambda q: jnp.sum(q**2), 2, START), polar)
    assert not any(found.periodic)


@pytest.mark.parametrize(("slope", "periodic"), [(0.0, True), (0.1, False)])
def test_drift_and_diffusion_of_a_system_without_a_density_decide(slope, periodic):
    system = StochasticSystem(
        lambda q: jnp.stack([-q[0], jnp.sin(q[1])]),
        lambda q: jnp.stack([jnp.ones(()), 1 + slope * jnp.tanh(q[1])]),
        2,
        START,
    )
    assert find_state_space(system, angle()).periodic[1] == periodic


def test_canonical_states_lie_in_the_range_and_differ_by_whole_periods():
    found = find_state_space(OverdampedSystem(periodic_potential, 2, START), angle())
    states = np.random.default_rng(1).normal(0, 20, (500, 2))
    moved = np.asarray(found.wrap(states))
    assert np.all((moved[:, 1] >= -np.pi) & (moved[:, 1] < np.pi))
    turns = (states - moved) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)
    assert np.array_equal(moved[:, 0], states[:, 0])


def test_states_without_periodic_coordinates_stay_as_they_are():
    found = find_state_space(OverdampedSystem(lambda q: jnp.sum(q**2), 2, START), angle(periodic=False))
    states = np.random.default_rng(1).normal(0, 20, (5, 2))
    assert np.array_equal(found.wrap(states), states)
