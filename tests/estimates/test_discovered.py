"""Wells found among visited states, hidden ones included, and none invented."""

import jax
import jax.numpy as jnp
import numpy as np

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.estimates.discovered import MOST_WELLS, discover, discovery_cost
from micromacro.sampling.engine import JaxEngine
from micromacro.systems.hidden_barrier import bath_potential, hidden_barrier_bath
from micromacro.systems.model import OverdampedSystem, StochasticSystem

FIRST = CoarseVariable(lambda q: q[:1], np.array([-2.0]), np.array([2.0]), (False,))


def found(system, coarse, frames, scale, **settings):
    engine = JaxEngine(system, coarse)
    z = np.asarray(jax.vmap(engine.coarse_of)(jnp.asarray(frames)))
    rng = np.random.default_rng(0)
    result = discover(engine, coarse, system.initial, frames, z, scale, rng, **settings)
    assert engine.evaluations <= discovery_cost(len(system.initial))
    return result


def test_wells_apart_at_the_same_coarse_value_are_found():
    def potential(q):
        return 0.5 * q[0] ** 2 + 8 * (q[1] ** 2 - 1) ** 2

    rng = np.random.default_rng(1)
    system = OverdampedSystem(potential, 2, np.array([[0.0, -1.0]]))
    frames = np.stack([rng.uniform(-1.5, 1.5, 1000), np.where(rng.random(1000) < 0.02, 1.0, -1.0)], axis=1)
    frames[:, 1] += 0.1 * rng.normal(size=1000)
    wells = found(system, FIRST, frames, np.diag([1.0, 0.125]))
    np.testing.assert_allclose(wells.initial, [[0.0, -1.0], [0.0, 1.0]], atol=0.02)
    np.testing.assert_array_equal(wells.seeds.label, (wells.seeds.position[:, 1] > 0).astype(int))


def test_one_well_stays_one_however_long_and_bent():
    def potential(q):
        return 0.1 * q[0] ** 2 + 20 * (q[1] - 0.5 * q[0] ** 2) ** 2

    rng = np.random.default_rng(2)
    x = rng.uniform(-2, 2, 1000)
    frames = np.stack([x, 0.5 * x**2 + 0.1 * rng.normal(size=1000)], axis=1)
    wells = found(OverdampedSystem(potential, 2, np.zeros((1, 2))), FIRST, frames, np.diag([1.0, 0.2]))
    assert len(wells.initial) == 1
    assert set(wells.seeds.label.tolist()) == {0}


def test_states_that_differ_by_a_period_are_one():
    coarse = CoarseVariable(lambda q: q[:1], np.array([-np.pi]), np.array([np.pi]), (True,))
    system = OverdampedSystem(lambda q: 4 * jnp.cos(2 * q[0]), 1, np.array([[np.pi / 2]]))
    rng = np.random.default_rng(3)
    frames = rng.uniform(-20, 20, (1000, 1))
    wells = found(system, coarse, frames, np.array([[0.25]]))
    assert len(wells.initial) == 2
    np.testing.assert_allclose(np.cos(2 * wells.initial), -1.0, atol=0.01)


def test_states_that_look_alike_and_are_as_probable_are_one():
    coarse = CoarseVariable(
        lambda seen: jnp.arctan2(seen[1:2], seen[:1]), np.array([-np.pi]), np.array([np.pi]), (True,)
    )

    def log_density(x):
        return -4 * jnp.cos(2 * x[0])

    system = StochasticSystem(
        lambda x: 8 * jnp.sin(2 * x),
        lambda x: jnp.full(1, np.sqrt(2.0)),
        1,
        np.array([[np.pi / 2]]),
        log_stationary_density=log_density,
        observe=lambda x: jnp.array([jnp.cos(x[0]), jnp.sin(x[0])]),
        hidden=None,
    )
    frames = np.random.default_rng(4).uniform(-20, 20, (1000, 1))
    assert len(found(system, coarse, frames, np.array([[0.25]])).initial) == 2


def test_a_hidden_well_in_twenty_dimensions():
    reference = hidden_barrier_bath(20)
    minima = reference.system.initial
    system = OverdampedSystem(bath_potential(20), 20, minima[:1])
    rng = np.random.default_rng(5)
    which = (rng.random(2000) < 0.1).astype(int)
    deviation = np.concatenate([[0.15, 0.1], 0.45 * np.ones(18)])
    frames = minima[which] + deviation * rng.normal(size=(2000, 20))
    wells = found(system, FIRST, frames, np.diag(deviation))
    assert wells.initial[1:, 1].max() > 0.8
    for label in np.unique(wells.seeds.label):
        sign = np.sign(wells.initial[label, 1])
        assert np.mean(np.sign(wells.seeds.position[wells.seeds.label == label, 1]) == sign) > 0.98


def test_no_more_wells_than_are_allowed():
    system = OverdampedSystem(lambda q: -8 * jnp.cos(2 * np.pi * q[0]) + 0.5 * q[0] ** 2 * 0.01, 1, np.zeros((1, 1)))
    coarse = CoarseVariable(lambda q: q, np.array([-10.0]), np.array([10.0]), (False,))
    frames = np.random.default_rng(6).uniform(-10, 10, (3000, 1))
    wells = found(system, coarse, frames, np.array([[0.06]]))
    assert len(wells.initial) == MOST_WELLS
    assert wells.seeds.label.max() == MOST_WELLS - 1
    assert len(np.unique(np.round(wells.initial))) == MOST_WELLS
    assert len(found(system, coarse, frames, np.array([[0.06]]), most_new=2).initial) == 3
