"""A generator completed by its own condition: its density is one, its draws have it, and it is stored whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.space import Space
from micromacro.errors import StoreError
from micromacro.generators.completed import CompletedGenerator
from micromacro.generators.flow import FlowSettings
from micromacro.generators.saving import arrays_of, describe, load_generator, restore, save_generator
from micromacro.sampling.proposal import ConditionalProposal

STATE = Space.of([-np.pi, 0.0, -np.inf], [np.pi, 2 * np.pi, np.inf], [True, True, False])
ANGLE = Space.of([-np.pi], [np.pi], [True])
BLUR = 0.3


@pytest.fixture(scope="module")
def generator() -> CompletedGenerator:
    """Of an angle about ξ and a number that follows it; ξ is the second coordinate, which counts from 0 to 2π."""
    rng = np.random.default_rng(0)
    own = rng.uniform(-np.pi, np.pi, 8000)
    rest = np.stack([own + 0.3 * rng.normal(size=8000), np.sin(own) + 0.5 * rng.normal(size=8000)], axis=1)
    rest[:, 0] = np.mod(rest[:, 0] + np.pi, 2 * np.pi) - np.pi
    fitted = FlowSettings(training_steps=750).fit(
        rest,
        own[:, None],
        np.ones(8000),
        jax.random.key(0),
        state=Space.of([-np.pi, -np.inf], [np.pi, np.inf], [True, False]),
        condition=ANGLE,
    )
    return CompletedGenerator(fitted, jnp.array([BLUR]), (1,), STATE)


def draws(generator, z, count, method="sample_and_log_prob"):
    keys = jax.random.split(jax.random.key(1), count)
    return jax.jit(jax.vmap(lambda key: getattr(generator, method)(jnp.array([z]), key)))(keys)


def test_it_is_a_proposal(generator):
    assert isinstance(generator, ConditionalProposal)
    assert generator.others == (0, 2)


@pytest.mark.parametrize("z", [-3.1, 0.4])
def test_its_density_is_that_of_its_draws(generator, z):
    found = draws(generator, z, 400)
    log_prob, known = jax.vmap(lambda q: generator.log_prob(q, jnp.array([z])))(found.state)
    assert np.all(known[found.valid])
    assert np.mean(found.valid) > 0.99
    np.testing.assert_allclose(found.log_prob[found.valid], log_prob[found.valid], atol=2e-3)
    inside = (found.state >= np.array(STATE.lower)) & (found.state <= np.array(STATE.upper))
    assert inside.all()


def test_its_density_integrates_to_one(generator):
    first, second = (np.linspace(0, 2 * np.pi, 80, endpoint=False) + shift for shift in (-np.pi, 0.0))
    third = np.linspace(-6, 6, 120)
    grid = np.stack(np.meshgrid(first, second, third, indexing="ij"), -1).reshape(-1, 3)
    log_prob, _ = jax.jit(
        lambda q: jax.lax.map(lambda one: generator.log_prob(one, jnp.array([-3.1])), q, batch_size=4096)
    )(grid)
    cell = (2 * np.pi / 80) ** 2 * (third[1] - third[0])
    assert np.sum(np.exp(np.asarray(log_prob, float))) * cell == pytest.approx(1, abs=0.01)


def test_its_own_coordinate_is_normal_about_the_condition_or_there_exactly(generator):
    own = np.asarray(draws(generator, -3.1, 4000, "sample")[:, 1])
    step = np.asarray(ANGLE.difference(ANGLE.wrap(jnp.asarray(own)), jnp.array([-3.1])))
    assert abs(step.mean()) < 4 * BLUR / np.sqrt(4000)
    assert step.std() == pytest.approx(BLUR, rel=4 / np.sqrt(8000))
    exact = np.asarray(draws(generator, -3.1, 50, "sample_exactly"))
    np.testing.assert_allclose(exact[:, 1], 2 * np.pi - 3.1, atol=1e-12)


def test_it_is_stored_whole(generator, tmp_path):
    save_generator(generator, tmp_path / "one.safetensors")
    again = load_generator(tmp_path / "one.safetensors")
    assert isinstance(again, CompletedGenerator)
    np.testing.assert_array_equal(draws(again, 1.0, 20).state, draws(generator, 1.0, 20).state)


def test_coordinates_apart_are_stored_with_it(tmp_path):
    rng = np.random.default_rng(1)
    q, z = rng.normal(size=(500, 3)), rng.uniform(-np.pi, np.pi, (500, 1))
    settings = FlowSettings(training_steps=250, apart=(0, 2))
    fitted = settings.fit(q, z, np.ones(500), jax.random.key(0), condition=ANGLE)
    assert fitted.representation.layout.apart == (0, 2)
    save_generator(fitted, tmp_path / "one.safetensors")
    again = load_generator(tmp_path / "one.safetensors")
    assert again.settings == settings
    np.testing.assert_array_equal(draws(again, 1.0, 5).log_prob, draws(fitted, 1.0, 5).log_prob)


@pytest.mark.parametrize(
    "change",
    [{"coordinates": [0]}, {"coordinates": [1, 1]}, {"coordinates": [7]}, {"blur": [0.1, 0.1]}, {"state": {}}],
)
def test_a_forged_description_is_refused(generator, change):
    description = describe(generator)
    description["completed"] |= change
    with pytest.raises(StoreError):
        restore(description, arrays_of(generator))
