"""Lifting to a level set: the δ measure, within the width asked for, worth what it says."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.lifting import Reservoir, lift_exact, lift_local, lifting_cost
from micromacro.errors import InputError
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.table import fit_table, padded_grid
from micromacro.systems.curved_levels import curved_level_sets

Z, WIDTH, DRAWS = np.array([0.4]), np.array([0.03]), 4000


@pytest.fixture(scope="module")
def reference():
    return curved_level_sets()


@pytest.fixture(scope="module")
def coarse(reference):
    return CoarseVariable(reference.coarse, np.array(reference.lower), np.array(reference.upper), reference.periodic)


@pytest.fixture(scope="module")
def reservoir(reference, coarse):
    """Exact draws at many coarse values, more of them at higher ones, with the weights that make up for it."""
    rng = np.random.default_rng(0)
    values = coarse.lower + coarse.range * np.sqrt(rng.random((1500, 1)))
    states = np.concatenate([reference.exact.sample_conditional(z, 40, rng) for z in values])
    z = np.repeat(values, 40, axis=0)
    origin, spacing, shape = padded_grid(coarse, 60)
    points = origin + spacing * np.arange(shape[0])[:, None]
    table = fit_table(reference.exact.free_energy(points), origin, spacing, coarse.periodic)
    flat = 1 / (z[:, 0] - coarse.lower[0])
    return Reservoir(states, z, flat, 1.0, table, np.array([0.1]), np.diag([0.3, 0.3]))


@pytest.fixture(scope="module")
def lifted(reference, coarse, reservoir):
    engine = JaxEngine(reference.system, coarse)
    found = lift_exact(engine, coarse, reservoir, Z, DRAWS, WIDTH, jax.random.key(0), np.random.default_rng(1))
    assert engine.evaluations == lifting_cost(DRAWS)
    return found


FUNCTIONS = (
    lambda q: (q[:, 1] > 1.5) * 1.0,
    lambda q: q[:, 1],
    lambda q: q[:, 1] ** 2,
    lambda q: np.abs(q[:, 1] - 1.5),
)


def line_averages(reference, surface):
    """Averages on the level set by quadrature in q_2, with the surface measure's factor |∇ξ| or without."""
    t = np.linspace(-2.5, 5.5, 4001)
    states = np.stack([Z[0] - 0.5 * t**2, t], axis=1)
    log_density = np.asarray(jax.vmap(reference.system.log_density)(jnp.asarray(states)))
    weight = np.exp(log_density - log_density.max()) * (np.sqrt(1 + t**2) if surface else 1)
    return np.array([weight @ function(states) / weight.sum() for function in FUNCTIONS])


def test_lifted_states_follow_the_delta_and_not_the_surface_measure(reference, lifted):
    right, other = line_averages(reference, surface=False), line_averages(reference, surface=True)
    np.testing.assert_allclose(right[0], reference.exact.hidden_weight(Z[None])[0], atol=1e-3)
    values = np.stack([function(lifted.position) for function in FUNCTIONS])
    error = values.std(axis=1) / np.sqrt(lifted.effective_sample_size)
    assert np.all(np.abs(values.mean(axis=1) - right) < 4.5 * error)
    assert np.abs((values.mean(axis=1) - other) / error)[:3].min() > 8


def test_lifted_states_lie_within_the_width(coarse, lifted):
    assert np.abs(lifted.coarse - Z).max() <= WIDTH[0]
    np.testing.assert_allclose(jax.vmap(coarse)(jnp.asarray(lifted.position)), lifted.coarse, rtol=1e-9)
    assert abs(lifted.coarse.mean() - Z[0]) < 4.5 * lifted.coarse.std() / np.sqrt(DRAWS / 4)


def test_every_draw_is_a_state_of_its_own(reservoir, lifted):
    assert len(np.unique(lifted.position[:, 1])) > 0.95 * DRAWS
    assert not np.isin(lifted.position[:, 1], reservoir.position[:, 1]).any()


def test_the_effective_number_is_at_most_that_of_draws_and_of_seeds(reference, coarse, reservoir, lifted):
    near = np.abs(reservoir.coarse - Z)[:, 0] < 0.1
    assert 0.3 * near.sum() / (1 + near.sum() / DRAWS) < lifted.effective_sample_size < min(DRAWS, near.sum())
    rng = np.random.default_rng(2)
    correlated = replace(reservoir, inefficiency=100.0)
    few = lift_local(coarse, correlated, Z, DRAWS, np.array([0.1]), rng).effective_sample_size
    many = lift_local(coarse, reservoir, Z, DRAWS, np.array([0.1]), rng).effective_sample_size
    assert few < near.sum() / 100 < many


def test_states_of_the_reservoir_near_the_level_set_are_even_about_it(reference, coarse, reservoir):
    found = lift_local(coarse, reservoir, Z, DRAWS, np.array([0.1]), np.random.default_rng(3))
    assert np.abs(found.coarse - Z).max() <= 0.1
    assert np.isin(found.position[:, 1], reservoir.position[:, 1]).all()
    delta = (found.coarse - Z)[:, 0]
    # the kernel 1 - δ² has mean 0 and variance 1/5; the reservoir holds about 75 coarse values there
    assert abs(delta.mean()) < 4.5 * 0.1 / np.sqrt(5 * 75)
    assert abs(np.mean(delta**2) - 0.002) < 0.0008
    upper, exact = np.mean(found.position[:, 1] > 1.5), reference.exact.hidden_weight(Z[None])[0]
    assert abs(upper - exact) < 4.5 * np.sqrt(exact * (1 - exact) / found.effective_sample_size)


def test_a_value_far_from_all_samples_names_the_nearest(coarse, reservoir):
    with pytest.raises(InputError, match=r"near coarse values that were sampled.*nearest sampled value is \[1\.4"):
        lift_local(coarse, reservoir, np.array([1.9]), 10, WIDTH, np.random.default_rng(0))
