"""The adaptive bias: what it fills, what its weights give, and what it costs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.cases.case import ExploreSettings
from micromacro.errors import InputError
from micromacro.estimates.reweighting import reweighted_free_energy
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.opes import frame_weights, opes, opes_cost
from micromacro.sampling.opes_bias import OpesBias
from micromacro.sampling.seeding import Exploration, explore
from micromacro.systems.muller_brown import muller_brown

SETTINGS = ExploreSettings(kind="opes", steps=3000, walkers=64, barrier=10.0)


def explored(system, coarse, seed=0, settings=SETTINGS):
    engine = JaxEngine(system, coarse)
    short = explore(engine, coarse, system.initial, 16, jax.random.key(seed))
    before = engine.evaluations
    found = opes(engine, coarse, short, settings, jax.random.key(seed + 1))
    return short, found, engine.evaluations - before


def by_hand(starts):
    """An exploration of as many starting points, without running it."""
    position = np.tile([-1.0, -0.5], (3, starts, 4, 1))
    return Exploration(position, position[..., :1], 0.5, 0.3 * np.eye(2), np.array([0.2]))


def errors(surface, exact, ceiling=6.0):
    """Error of F, minus its mean over the cells below `ceiling`, and its standard error there."""
    low = ((exact - exact.min()) < ceiling) & np.isfinite(surface.free_energy)
    error = surface.free_energy - exact
    return (error - error[low].mean())[low], surface.stderr[low]


def agrees(surface, exact, rms):
    error, stderr = errors(surface, exact)
    assert np.sqrt(np.mean(error**2)) < rms
    # walkers share their bias, which is not in the error
    assert np.mean((error / stderr) ** 2) < 4.0


def tall(q):
    """Two wells 7.5 apart at the barrier; the second is 2 above the first."""
    return 7.5 * (q[0] ** 2 - 1) ** 2 + q[0] + 4 * (q[1] - 0.5 * q[0]) ** 2


@pytest.fixture(scope="module")
def double_well(known):
    coarse = known.coarse_variable([-1.6], [1.6], (False,))
    short, found, cost = explored(known.system(tall, [[-1.0, -0.5]]), coarse)
    return coarse, short, found, cost


def test_walkers_cross_a_barrier_that_short_runs_do_not(double_well):
    _, short, found, cost = double_well
    assert short.coarse.max() < 0.5
    assert np.mean(found.coarse > 0) > 0.25
    assert cost == opes_cost(SETTINGS)
    assert found.change[-1] < 0.02 < found.change[1]
    assert 0.1 * found.weight.size < found.effective_sample_size < found.weight.size
    np.testing.assert_allclose(found.weight.sum(), 1.0)


def test_free_energy_of_a_double_well(double_well):
    coarse, _, found, _ = double_well
    surface = reweighted_free_energy(coarse, found.coarse, found.weight)
    z = surface.grid.points[:, 0]
    exact = 7.5 * (z**2 - 1) ** 2 + z
    agrees(surface, exact, 0.2)
    unweighted = reweighted_free_energy(coarse, found.coarse, np.ones(found.weight.shape))
    assert np.sqrt(np.mean(errors(unweighted, exact)[0] ** 2)) > 1.0


def test_weights_give_averages_of_what_is_not_biased(double_well):
    _, _, found, _ = double_well
    z = np.linspace(-2, 2, 4001)
    density = np.exp(-(7.5 * (z**2 - 1) ** 2 + z))
    average = np.sum(found.weight * found.position[..., 1])
    each = np.array([np.average(y, weights=w) for y, w in zip(found.position[..., 1].T, found.weight.T, strict=True)])
    share = found.weight.sum(axis=0)
    stderr = np.sqrt(np.sum((share * (each - average)) ** 2))
    assert abs(average - 0.5 * np.average(z, weights=density)) < 4 * stderr
    assert stderr < 0.15


def test_free_energy_of_an_angle(known):
    coarse = known.coarse_variable([-np.pi], [np.pi], (True,))
    system = known.system(lambda q: 3.5 * jnp.cos(2 * q[0]) + 0.5 * jnp.sin(q[0]), [[1.5]])
    _, found, _ = explored(system, coarse)
    surface = reweighted_free_energy(coarse, found.coarse, found.weight)
    z = surface.grid.points[:, 0]
    agrees(surface, 3.5 * np.cos(2 * z) + 0.5 * np.sin(z), 0.2)


def test_free_energy_of_two_coarse_variables(known):
    coarse = known.coarse_variable([-1.6, -np.pi], [1.6, np.pi], (False, True))

    def potential(q):
        return 4 * (q[0] ** 2 - 1) ** 2 + 2 * jnp.cos(q[1]) + 0.5 * q[0] * jnp.sin(q[1])

    settings = replace(SETTINGS, steps=5000)
    _, found, _ = explored(known.system(potential, [[-1.0, 3.0]]), coarse, settings=settings)
    surface = reweighted_free_energy(coarse, found.coarse, found.weight)
    exact = np.asarray(jax.vmap(potential)(jnp.asarray(surface.grid.points)))
    low = exact - exact.min() < 5
    assert np.mean(np.isfinite(surface.free_energy[low])) > 0.9
    agrees(surface, exact, 0.35)


def test_free_energy_of_muller_brown(known):
    reference = muller_brown()
    coarse = known.coarse_variable(reference.lower, reference.upper, (False,))
    _, found, _ = explored(replace(reference.system, initial=reference.system.initial[1:2]), coarse, seed=2)
    surface = reweighted_free_energy(coarse, found.coarse, found.weight)
    error, _ = errors(surface, reference.exact.free_energy(surface.grid.points))
    # few walkers cross in y, which x does not see
    assert np.sqrt(np.mean(error**2)) < 0.5


def test_no_more_is_filled_than_the_barrier(known):
    coarse = known.coarse_variable([-1.6], [1.6], (False,))
    system = known.system(lambda q: 25 * (q[0] ** 2 - 1) ** 2, [[-1.0]])
    _, found, _ = explored(system, coarse, settings=replace(SETTINGS, steps=2000, barrier=5.0))
    assert found.coarse.max() < 0
    z = np.linspace(-1.6, 0, 4001)
    density = np.exp(-25 * (z**2 - 1) ** 2)
    # the density at its highest over its mean where walkers were is what the normalisation adds
    highest = np.log(density.max() / (density.sum() * (z[1] - z[0]) / np.ptp(found.coarse)))
    assert 4.0 < np.ptp(found.filled) < 5.0 + highest + 0.2
    assert np.percentile(25 * (found.coarse**2 - 1) ** 2, 99) < 5.0 + highest + 4


def test_few_walkers_give_the_same_as_many(known, double_well):
    coarse, _, many, _ = double_well
    settings = replace(SETTINGS, walkers=8, steps=16_000)
    _, few, _ = explored(known.system(tall, [[-1.0, -0.5]]), coarse, seed=3, settings=settings)
    surfaces = [reweighted_free_energy(coarse, found.coarse, found.weight) for found in (few, many)]
    exact = 7.5 * (surfaces[0].grid.points[:, 0] ** 2 - 1) ** 2 + surfaces[0].grid.points[:, 0]
    difference = np.subtract(*(errors(surface, exact)[0] for surface in surfaces))
    assert np.sqrt(np.mean(difference**2)) < 0.3


def test_the_same_seed_gives_the_same_frames(known):
    coarse = known.coarse_variable([-1.6], [1.6], (False,))
    engine, settings = JaxEngine(known.system(tall, [[-1.0, -0.5]]), coarse), replace(SETTINGS, steps=500, walkers=8)
    first, again, other = (opes(engine, coarse, by_hand(1), settings, jax.random.key(seed)) for seed in (0, 0, 5))
    np.testing.assert_array_equal(first.position, again.position)
    assert np.any(first.position != other.position)


def test_walls_keep_walkers_in_the_range_and_their_frames_do_not_count(known):
    coarse = known.coarse_variable([-0.5], [0.5], (False,))
    system = known.system(lambda q: q[0] ** 2, [[0.0]])
    _, found, _ = explored(system, coarse, settings=replace(SETTINGS, steps=2000))
    outside = np.abs(found.coarse[..., 0]) > 0.5
    growing = len(found.coarse) // 5
    assert found.weight[outside].sum() == 0
    assert found.weight[:growing].sum() == 0
    assert np.abs(found.coarse[growing:]).max() < 0.7
    surface = reweighted_free_energy(coarse, found.coarse, found.weight)
    agrees(surface, surface.grid.points[:, 0] ** 2, 0.15)


def test_the_bias_is_that_of_the_formula(known):
    coarse = known.coarse_variable([-3.0], [3.0], (False,))
    rng = np.random.default_rng(0)
    z = rng.normal(size=(100_000, 1)) * 0.5
    bias = OpesBias.empty(coarse, np.array([0.5]), 8.0).updated(z, np.zeros(len(z)))
    grid = np.linspace(-3, 3, 121)[1:] - 0.025
    width = np.hypot(0.5, bias.kernel[0] * 0.05)
    density = np.exp(-0.5 * (grid / width) ** 2) / (width * np.sqrt(2 * np.pi))
    ratio = density / density[bias.visited].mean()
    expected = (1 - 1 / 8) * np.log(ratio + np.exp(-8 / (1 - 1 / 8)))
    core = np.abs(grid) < 1.0
    assert np.abs(bias.values - expected)[core].max() < 0.1
    np.testing.assert_allclose(bias.values[0], -8.0, atol=1e-6)
    minus = np.asarray(jax.vmap(bias.flattening)(jnp.asarray(grid[:, None])))
    np.testing.assert_allclose(-minus, bias.values, atol=1e-10)


def test_beyond_the_range_the_wall_rises_and_its_force_stays_bounded(known):
    coarse = known.coarse_variable([-1.0], [1.0], (False,))
    bias = OpesBias.empty(coarse, np.array([0.1]), 8.0)
    force = jax.vmap(jax.grad(lambda z: bias.flattening(z)))(jnp.array([[0.5], [1.1], [5.0], [50.0], [-50.0]]))[:, 0]
    np.testing.assert_allclose(force[0], 0.0, atol=1e-6)
    np.testing.assert_allclose(force[1], -0.1 / 0.04**2, rtol=0.05)
    np.testing.assert_allclose(force[3], force[2])
    np.testing.assert_allclose(force[4], -force[3], rtol=1e-6)


def test_weights_are_zero_where_nothing_counts(known):
    coarse = known.coarse_variable([-1.0], [1.0], (False,))
    assert frame_weights(coarse, np.full((10, 2, 1), 3.0), np.zeros((10, 2))).sum() == 0


@pytest.mark.parametrize(
    ("change", "parameter"),
    [({"barrier": 1.0}, "explore.barrier"), ({"steps": 100}, "explore.steps"), ({"walkers": 1}, "explore.walkers")],
)
def test_settings_that_cannot_work_are_refused(known, change, parameter):
    coarse = known.coarse_variable([-1.6], [1.6], (False,))
    engine = JaxEngine(known.system(tall, [[-1.0, -0.5], [1.0, 0.5]]), coarse)
    with pytest.raises(InputError, match=parameter):
        opes(engine, coarse, by_hand(2), replace(SETTINGS, **change), jax.random.key(1))
