"""The training loop: it descends, respects weights, repeats itself, and says when it fails."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import PhysicsError
from micromacro.generators.network import Condition, Network
from micromacro.generators.representation import fit_affine
from micromacro.generators.score import ScoreGenerator, ScoreSettings, denoising_loss
from micromacro.generators.training import CHUNK, TrainingSettings, train

SETTINGS = TrainingSettings(steps=500, batch_size=64, learning_rate=0.02)


class Mean(eqx.Module):
    value: jax.Array


def squares(model, first, second, key):
    return jnp.mean((first[:, 0] - model.value) ** 2)


def fitted_mean(data, weight, key=0):
    pairs = data[:, None].astype(np.float32), np.zeros((len(data), 1), np.float32)
    start = Mean(jnp.zeros((), jnp.float32))
    model, losses = train(start, squares, pairs, weight, SETTINGS, jax.random.key(key))
    return float(model.value), losses


@pytest.fixture(scope="module")
def skewed():
    rng = np.random.default_rng(0)
    data = np.concatenate([rng.normal(-1, 0.3, 500), rng.normal(2, 0.3, 500)])
    return data, np.repeat([1.0, 2.0], 500)


def test_weights_move_the_minimum_to_the_weighted_mean(skewed):
    data, weight = skewed
    found, _ = fitted_mean(data, weight)
    # a stratified batch has all but the scatter within a well; the average is over 5 % of the steps
    assert abs(found - np.average(data, weights=weight)) < 0.03
    assert abs(fitted_mean(data, np.ones(len(data)))[0] - data.mean()) < 0.03
    assert abs(np.average(data, weights=weight) - data.mean()) > 0.3


def test_doubled_rows_are_doubled_weights(skewed):
    """The batches are the same, row for row, so the results are."""
    data, weight = skewed
    doubled = np.repeat(data, weight.astype(int))
    assert abs(fitted_mean(data, weight)[0] - fitted_mean(doubled, np.ones(len(doubled)))[0]) < 1e-3


def test_rows_without_weight_are_never_seen(skewed):
    data, weight = skewed
    data, weight = np.where(weight == 1, np.nan, data), np.where(weight == 1, 0.0, 1.0)
    assert abs(fitted_mean(data, weight)[0] - data[500:].mean()) < 0.03


def test_the_same_key_gives_the_same_result_and_another_another(skewed):
    one, again, other = (fitted_mean(*skewed, key=key)[0] for key in (1, 1, 2))
    assert one == again
    assert one != other


def test_the_loss_is_reported_by_chunk_and_falls(skewed):
    data, weight = skewed
    _, losses = fitted_mean(data, weight)
    smallest = np.average((data - np.average(data, weights=weight)) ** 2, weights=weight)
    assert losses.shape == (SETTINGS.steps // CHUNK,)
    assert losses[0] > smallest + 0.1
    assert abs(losses[-1] - smallest) < 0.03


def test_a_loss_that_is_not_finite_says_where_and_what_to_do(skewed):
    data, weight = skewed
    with pytest.raises(PhysicsError, match=rf"not finite \(generator, training step {CHUNK}\).*learning_rate"):
        fitted_mean(np.where(data < 0, np.nan, data), weight)


@pytest.fixture(scope="module")
def small():
    coarse = CoarseVariable(lambda q: q[:1], np.array([-1.0]), np.array([1.0]), (False,))
    condition = Condition.of(coarse)
    return condition, Network(2, condition.size, 16, 1, jax.random.key(0))


@pytest.fixture(scope="module")
def ring():
    """A curve of unit scale that the affine map alone does not describe."""
    rng = np.random.default_rng(1)
    angle = rng.uniform(0, 2 * np.pi, 4000)
    q = np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.1 * rng.normal(size=(4000, 2))
    return q.astype(np.float32), rng.uniform(-1, 1, (4000, 1)).astype(np.float32)


def test_the_denoising_loss_falls(small, ring):
    settings = TrainingSettings(steps=750, batch_size=128, learning_rate=3e-3)
    done = []
    _, losses = train(small, denoising_loss, ring, np.ones(4000), settings, jax.random.key(2), done.append)
    assert losses[2] < 0.9 * losses[0]
    assert sum(done) == 750


def test_the_denoising_loss_uses_no_key_twice(small, ring):
    with jax.debug_key_reuse(True):
        loss = jax.jit(lambda key: denoising_loss(small, *map(jnp.asarray, ring), key))(jax.random.key(0))
    assert np.isfinite(loss)


def test_features_of_a_condition_close_on_themselves_where_it_is_periodic():
    flags = (True, False)
    condition = Condition.of(CoarseVariable(lambda q: q[:2], np.array([-1.0, 0.0]), np.array([1.0, 4.0]), flags))
    at = [condition(jnp.array(z, jnp.float32)) for z in ([-1.0, 0.0], [1.0, 0.0], [-1.0, 4.0], [0.3, 0.0])]
    assert at[0].shape == (condition.size,)
    np.testing.assert_allclose(at[0], at[1], atol=1e-5)
    for other in at[2:]:
        assert np.abs(at[0] - other).max() > 0.5


def test_a_new_network_is_close_to_zero_in_single_precision(small):
    condition, network = small
    out = network(jnp.ones(2, jnp.float32), condition(jnp.array([0.2], jnp.float32)), jnp.float32(-1.0))
    assert out.dtype == np.float32
    assert np.abs(out).max() < 0.05


def test_going_on_takes_a_third_of_the_steps_and_keeps_the_map(small, ring):
    q, z = (part.astype(float) for part in ring)
    weight, free, rng = np.ones(len(q)), np.full(2, np.inf), np.random.default_rng(0)
    coarse = CoarseVariable(lambda q: q[:1], np.array([-1.0]), np.array([1.0]), (False,))
    first = ScoreGenerator(fit_affine(q, z, weight, coarse, np.zeros((2, 1)), free, rng), *small, 12)
    settings, steps = ScoreSettings(width=16, depth=1, training_steps=750, batch_size=32), []
    second = settings.fit(q, z, weight, coarse, jax.random.key(1), previous=first, on_chunk=steps.append)
    assert settings.steps_for(None) == 750
    assert sum(steps) == settings.steps_for(first) == 250
    assert np.array_equal(first.affine.factor, second.affine.factor)
    assert not np.array_equal(first.network.enter.weight, second.network.enter.weight)
