"""Settings of the score family, and the density of its model on a torus, of which no training is needed."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.space import Space
from micromacro.errors import InputError
from micromacro.generators.adaptive import AdaptiveModel
from micromacro.generators.condition import Condition
from micromacro.generators.generator import DensityGenerator, Generator
from micromacro.generators.representation import Layout
from micromacro.generators.samplers import HeunModel, StochasticModel
from micromacro.generators.score import ScoreSettings

CONDITION = Condition(Space((-1.0,), (1.0,), (False,)))
SMALL = ScoreSettings(width=16, depth=1, training_steps=250, batch_size=64, sampler_steps=6)


def untrained(settings, layout, size=20.0):
    """A model whose network is random, and by far not zero."""
    model = settings.build(layout, CONDITION, jax.random.key(0))
    place = lambda model: model.denoiser.network.leave  # noqa: E731
    return eqx.tree_at(place, model, jax.tree.map(lambda leaf: size * leaf, place(model)))


@pytest.mark.parametrize("wrong", [{"schedule": "cosine"}, {"sampler": "euler"}, {"divergence": "none"}])
def test_unknown_names_are_refused(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(InputError, match=rf"(?s){name}.*{value}"):
        ScoreSettings(**wrong)


def test_sizes_grow_with_the_dimension_and_give_way_to_what_is_given():
    found = [ScoreSettings().width_for(dimension) for dimension in (2, 10, 20, 60)]
    assert found == sorted(set(found))
    assert ScoreSettings().steps_for(2, warm=False) > ScoreSettings().steps_for(2, warm=True)
    assert (SMALL.width_for(60), SMALL.steps_of_sampler, SMALL.steps_for(60, warm=False)) == (16, 6, 250)
    assert ScoreSettings(schedule="ve").steps_of_sampler > ScoreSettings().steps_of_sampler


def test_the_divergence_is_exact_up_to_a_hundred_dimensions():
    settings = ScoreSettings(sampler="adaptive")
    assert [settings.divergence_for(dimension) for dimension in (2, 100, 101)] == ["exact", "exact", "hutchinson"]
    assert replace(settings, divergence="hutchinson").divergence_for(2) == "hutchinson"
    assert untrained(settings, Layout(2, 0)).probes is None
    assert untrained(replace(settings, divergence="hutchinson"), Layout(2, 0)).probes == 16


def test_a_sampler_may_be_exchanged_without_training():
    rng = np.random.default_rng(0)
    q, z = rng.normal(size=(500, 2)), rng.uniform(-1, 1, (500, 1))
    generator = SMALL.fit(q, z, np.ones(500), jax.random.key(0))
    assert isinstance(generator, DensityGenerator)
    assert isinstance(generator.model, HeunModel)
    for name, kind, wrapper in (
        ("stochastic", StochasticModel, Generator),
        ("adaptive", AdaptiveModel, DensityGenerator),
    ):
        other = replace(SMALL, sampler=name).resampled(generator)
        assert isinstance(other, wrapper)
        assert isinstance(other.model, kind)
        assert other.settings.has_density == (wrapper is DensityGenerator)
        same = jax.tree.map(np.array_equal, generator.model.denoiser, other.model.denoiser)
        assert all(jax.tree.leaves(same))
        state = eqx.filter_jit(lambda one: one.sample(jnp.zeros(1), jax.random.key(0)))(other)
        assert np.all(np.isfinite(state))


@pytest.mark.parametrize("schedule", ["edm", "vp"])
def test_the_density_of_angles_integrates_to_one(schedule):
    """On the whole torus, of random networks whose flow bends it strongly: their scores have the period of angles."""
    model = untrained(ScoreSettings(width=16, schedule=schedule, sampler_steps=16), Layout(0, 2), 60.0)
    assert model.denoiser.schedule.largest < 5
    axis = -np.pi + 2 * np.pi * (np.arange(64) + 0.5) / 64
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2), jnp.float32)
    z = jnp.zeros(1, jnp.float32)
    found, solved = eqx.filter_jit(lambda one: jax.vmap(lambda x: one.log_prob(x, z))(grid))(model)
    assert np.ptp(found[solved]) > 0.5
    assert solved.mean() > 0.99
    np.testing.assert_allclose(np.exp(found).mean() * (2 * np.pi) ** 2, 1.0, atol=0.01)


def test_mixed_states_draw_angles_in_their_range_and_know_their_density():
    model = untrained(ScoreSettings(width=16), Layout(1, 2), 5.0)
    z, keys = jnp.zeros(1, jnp.float32), jax.random.split(jax.random.key(0), 500)
    draws = eqx.filter_jit(jax.vmap(lambda key: model.weighted_draw(z, key)))(keys)
    assert np.all(np.abs(draws.state[:, 1:]) <= np.pi + 1e-6)
    again, solved = eqx.filter_jit(jax.vmap(lambda x: model.log_prob(x, z)))(draws.state)
    both = np.asarray(solved & draws.valid)
    assert both.mean() > 0.8
    np.testing.assert_allclose(again[both], draws.log_prob[both], atol=2e-2)
