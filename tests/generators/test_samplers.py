"""Samplers of the exact denoiser of a Gaussian, without training: moments, densities, divergences."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.space import Space
from micromacro.generators.adaptive import AdaptiveModel, exact_divergence, hutchinson_divergence
from micromacro.generators.base import Base
from micromacro.generators.circle import score_size, wrapped_score
from micromacro.generators.condition import Condition
from micromacro.generators.denoiser import Denoiser, denoising_loss
from micromacro.generators.representation import Layout
from micromacro.generators.samplers import HeunModel, StochasticModel
from micromacro.generators.schedules import EdmSchedule, VpSchedule, schedule_named
from micromacro.generators.training import Pairs

DRAWS = 4000
Z = jnp.zeros(1)
MEAN, WIDTH = 0.6, 0.5
LAYOUT = Layout(1, 1)


class Exact(eqx.Module):
    """In place of the network: its ideal output for a normal real number and a wrapped normal angle, both known.

    The angle is read from its first harmonic, as the network would.
    """

    def __call__(self, state, features, time):
        noise = jnp.exp(4 * time)
        root = jnp.sqrt(noise**2 + 1)
        y, angle = state[0] * root, jnp.arctan2(state[4], state[1])
        # the noise expected of N(MEAN, WIDTH²) at y, solved for the output
        expected = noise * (y - MEAN) / (WIDTH**2 + noise**2)
        real = (noise / root**2 * y - expected) * root
        score = wrapped_score(angle - MEAN, jnp.sqrt(WIDTH**2 + noise**2))
        return jnp.stack([real, score / score_size(noise)])


class Scaled(eqx.Module):
    """Its output times a factor."""

    factor: float

    def __call__(self, state, features, time):
        return self.factor * Exact()(state, features, time)


def exact_denoiser(schedule):
    denoiser = Denoiser(Condition(Space((-1.0,), (1.0,), (False,))), LAYOUT, schedule, 8, 1, jax.random.key(0))
    return eqx.tree_at(lambda one: one.network, denoiser, Exact())


def exact_log_density(states, schedule):
    """Of the continuous flow from the base to the smallest noise, which is linear in the real number."""
    largest, width = np.hypot(WIDTH, schedule.largest), np.hypot(WIDTH, schedule.smallest)
    start = MEAN + (states[:, 0] - MEAN) * largest / width
    real = -0.5 * start**2 / (schedule.largest**2 + 1) - np.log(width * np.hypot(schedule.largest, 1) / largest)
    images = (states[:, 1:] - MEAN + 2 * np.pi * np.arange(-5, 6)) / width
    return real + np.log(np.exp(-0.5 * images**2).sum(axis=1)) - np.log(width) - np.log(2 * np.pi)


def draw(model, count=DRAWS):
    draws = eqx.filter_jit(jax.vmap(partial(model.draw, Z)))(jax.random.split(jax.random.key(1), count))
    return np.asarray(draws, float)


def check_moments(states, tolerance):
    """Mean and spread of the real number and direction of the angle, to their standard errors and a bias."""
    real, turn = states[:, 0], np.exp(1j * (states[:, 1] - MEAN))
    error = WIDTH / np.sqrt(len(states))
    assert abs(real.mean() - MEAN) < 4.5 * error + tolerance
    assert abs(real.std() - WIDTH) < 4.5 * error / np.sqrt(2) + tolerance
    assert abs(turn.mean() - np.exp(-0.5 * WIDTH**2)) < 4.5 * WIDTH / np.sqrt(len(states)) + tolerance
    assert np.all(np.abs(states[:, 1]) <= np.pi)


@pytest.mark.parametrize("name", ["edm", "ve", "vp"])
def test_the_flow_of_every_schedule_leads_to_the_data(name):
    check_moments(draw(HeunModel(exact_denoiser(schedule_named(name)), 60)), 0.01)


@pytest.mark.parametrize("churn", [0.0, 8.0, 40.0])
def test_the_stochastic_sampler_has_the_moments_of_the_data(churn):
    model = StochasticModel(exact_denoiser(EdmSchedule()), 40, churn)
    states = draw(model)
    check_moments(states, 0.01)
    assert not hasattr(model, "log_prob")


def test_the_stochastic_sampler_follows_any_schedule():
    check_moments(draw(StochasticModel(exact_denoiser(VpSchedule()), 60, 8.0)), 0.015)


@pytest.mark.parametrize(
    ("name", "tolerance", "typical", "worst"), [("edm", 1e-3, 0.05, 0.5), ("vp", 1e-5, 3e-4, 3e-3)]
)
def test_the_adaptive_density_is_that_of_the_data(name, tolerance, typical, worst):
    denoiser = exact_denoiser(schedule_named(name))
    states = np.random.default_rng(0).normal(MEAN, WIDTH, (100, 2))
    model = AdaptiveModel(denoiser, tolerance)
    found, solved = eqx.filter_jit(jax.vmap(model.log_prob, in_axes=(0, None)))(jnp.asarray(states, jnp.float32), Z)
    assert np.all(solved)
    error = np.asarray(found - exact_log_density(states, denoiser.schedule))
    assert np.sqrt(np.mean(error**2)) < typical
    assert np.abs(error).max() < worst


def test_an_adaptive_draw_has_the_density_of_its_state():
    model = AdaptiveModel(exact_denoiser(EdmSchedule()), 1e-4)
    keys = jax.random.split(jax.random.key(2), 100)
    one, other = (
        eqx.filter_jit(jax.vmap(partial(method, Z)))(keys) for method in (model.draw_with_density, model.weighted_draw)
    )
    assert np.all(one.valid & other.valid)
    # steps are chosen anew where the density travels along, within the tolerance at the largest noise
    assert np.sqrt(np.mean((one.state - other.state) ** 2)) < 5e-3
    exact = exact_log_density(np.asarray(one.state, float), EdmSchedule())
    for draws in (one, other):
        error = np.asarray(draws.log_prob - exact)
        assert np.sqrt(np.mean(error**2)) < 0.05
        assert np.abs(error).max() < 0.3


@pytest.mark.parametrize("dimension", [3, 12])
def test_random_probes_estimate_the_divergence_without_bias(dimension):
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(dimension, dimension)))
    x, t = jnp.linspace(-1, 1, dimension), jnp.asarray(0.0)

    def slope(x, t):
        return jnp.tanh(matrix @ x)

    value, trace = exact_divergence(slope, x, t)
    jacobian = np.asarray(jax.jacfwd(slope)(x, t))
    np.testing.assert_allclose(trace, np.trace(jacobian))
    signs = jax.random.rademacher(jax.random.key(0), (2000, 4, dimension), float)
    same, found = jax.vmap(lambda probes: hutchinson_divergence(slope, x, t, probes))(signs)
    np.testing.assert_allclose(same[0], value)
    found = np.asarray(found)
    assert abs(found.mean() - trace) < 4.5 * found.std() / np.sqrt(len(found))
    symmetric = 0.5 * (jacobian + jacobian.T)
    variance = 2 * (np.sum(symmetric**2) - np.sum(np.diag(symmetric) ** 2)) / 4
    np.testing.assert_allclose(found.var(), variance, rtol=0.2)


def test_the_density_with_random_probes_is_a_function_of_the_state():
    """And without error here, where the Jacobian is diagonal: every probe gives its trace."""
    denoiser, states = exact_denoiser(EdmSchedule()), jnp.full((3, 2), 0.7, jnp.float32)
    models = [AdaptiveModel(denoiser, 1e-5, probes, seed) for probes, seed in ((None, 0), (2, 0), (2, 1))]
    exact, one, other = (eqx.filter_jit(jax.vmap(model.log_prob, in_axes=(0, None)))(states, Z)[0] for model in models)
    assert len(set(np.asarray(one).tolist())) == 1
    np.testing.assert_allclose(one, exact, atol=1e-4)
    np.testing.assert_allclose(other, exact, atol=1e-4)


def test_the_loss_of_the_exact_denoiser_is_the_least():
    """That of zero output is one for each coordinate, by the unit size of what is to be learnt."""
    schedule, rng = EdmSchedule(), np.random.default_rng(0)
    state = rng.normal(MEAN, WIDTH, (20_000, 2)).astype(np.float32)
    pairs = Pairs(jnp.asarray(state), jnp.zeros((20_000, 1), jnp.float32))
    exact = exact_denoiser(schedule)

    def loss(factor):
        scaled = eqx.tree_at(lambda one: one.network, exact, Scaled(factor))
        return float(eqx.filter_jit(denoising_loss)(scaled, pairs, jax.random.key(0)))

    least, none, more = (loss(factor) for factor in (1.0, 0.0, 1.1))
    assert least < min(none, more)


def test_the_base_is_normal_and_uniform():
    base = Base(LAYOUT, 3.0)
    draws = np.asarray(jax.vmap(base.draw)(jax.random.split(jax.random.key(0), 20_000)))
    assert abs(draws[:, 0].std() - 3) < 4.5 * 3 / np.sqrt(40_000)
    assert abs(np.mean(np.cos(draws[:, 1]))) < 4.5 / np.sqrt(40_000)
    found = jax.vmap(base.log_prob)(jnp.asarray(draws[:5]))
    expected = -0.5 * (draws[:5, 0] / 3) ** 2 - np.log(3 * np.sqrt(2 * np.pi)) - np.log(2 * np.pi)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
