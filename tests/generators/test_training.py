"""The training loop: it descends, respects weights, repeats itself, and says when it fails."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.space import Space
from micromacro.errors import InputError, PhysicsError
from micromacro.generators.condition import Condition
from micromacro.generators.descent import Descent
from micromacro.generators.score import ScoreSettings
from micromacro.generators.training import CHUNK, MOST_RECOVERIES, Data, TrainingSettings, train, validation_rows

SETTINGS = TrainingSettings(steps=500, batch_size=64, learning_rate=0.02)


class Mean(eqx.Module):
    value: jax.Array


def squares(model, pairs, key):
    return jnp.mean((pairs.state[:, 0] - model.value) ** 2)


def all_seen(state, z):
    return Data(state.astype(np.float32), z.astype(np.float32), np.zeros(len(z), bool))


def trained_mean(data, weight, key=0, count=1, settings=SETTINGS, loss=squares):
    pairs = all_seen(data[:, None], np.zeros((len(data), 1)))
    start = Mean(jnp.zeros(count, jnp.float32))
    return train(Descent(loss), start, pairs, weight, settings, jax.random.split(jax.random.key(key), count))


def fitted_mean(data, weight, key=0):
    trained = trained_mean(data, weight, key)
    return float(trained.model.value[0]), trained.loss[0]


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


def test_each_model_may_weigh_the_rows_its_own_way(skewed):
    data, weight = skewed
    both = trained_mean(data, np.stack([weight, np.ones(len(data))]), count=2).model.value
    assert abs(float(both[0]) - np.average(data, weights=weight)) < 0.03
    assert abs(float(both[1]) - data.mean()) < 0.03


def test_doubled_rows_are_doubled_weights(skewed):
    data, weight = skewed
    doubled = np.repeat(data, weight.astype(int))
    assert abs(fitted_mean(data, weight)[0] - fitted_mean(doubled, np.ones(len(doubled)))[0]) < 0.02


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
    with pytest.raises(PhysicsError, match=rf"not finite.*\(generator, training step {CHUNK}\).*learning_rate"):
        fitted_mean(np.where(data < 0, np.nan, data), weight)


def test_a_loss_that_fails_at_a_large_rate_recovers_at_a_smaller_one(skewed):
    """Beyond two the loss is not a number; the first rate steps there at once, smaller ones do not."""

    def fragile(model, pairs, key):
        return squares(model, pairs, key) + jnp.where(jnp.abs(model.value) > 2, jnp.nan, 0.0)

    fast = TrainingSettings(steps=1000, batch_size=64, learning_rate=50.0)
    trained = trained_mean(*skewed, settings=fast, loss=fragile)
    assert 0 < trained.recoveries <= MOST_RECOVERIES
    assert np.isfinite(trained.loss).all()
    assert abs(float(trained.model.value[0]) - np.average(skewed[0], weights=skewed[1])) < 0.2


def test_several_models_at_once_are_what_each_is_alone(skewed):
    """All from one compilation, each with its own key."""
    together = trained_mean(*skewed, key=3, count=3)
    assert together.loss.shape == (3, SETTINGS.steps // CHUNK)
    assert len(np.unique(together.model.value)) == 3
    pairs = all_seen(skewed[0][:, None], np.zeros((len(skewed[0]), 1)))
    keys = jax.random.split(jax.random.key(3), 3)
    alone = [
        train(Descent(squares), Mean(jnp.zeros(1, jnp.float32)), pairs, skewed[1], SETTINGS, keys[i : i + 1])
        for i in range(3)
    ]
    np.testing.assert_allclose(together.model.value, [float(one.model.value[0]) for one in alone], rtol=1e-5)


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best():
    """Sixteen rows, known by heart: the loss falls on, on held-out rows it rises."""
    rng = np.random.default_rng(0)
    state, z = rng.normal(size=(200, 1)).astype(np.float32), rng.uniform(-1, 1, (200, 1)).astype(np.float32)
    data = Data(state, z, validation_rows(state, 0.1))
    settings = ScoreSettings(width=64, training_steps=20_000)
    network = eqx.filter_vmap(lambda key: eqx.nn.MLP(1, 1, 64, 3, dtype=jnp.float32, key=key))(
        jax.random.split(jax.random.key(0), 1)
    )
    short = TrainingSettings(steps=settings.training_steps, batch_size=64, learning_rate=3e-3, patience=1000)

    def regression(model, pairs, key):
        return jnp.mean((jax.vmap(model)(pairs.z)[:, 0] - pairs.state[:, 0]) ** 2)

    trained = train(Descent(regression), network, data, np.ones(200), short, jax.random.split(jax.random.key(1), 1))
    chunks = trained.validation.shape[1]
    assert chunks < settings.training_steps // CHUNK
    best = int(np.argmin(trained.validation[0]))
    assert chunks - 1 - best == short.patience // CHUNK
    assert trained.validation[0, best] < trained.validation[0, -1]


def test_copies_of_a_state_stand_on_one_side_of_the_validation_split():
    states = np.random.default_rng(0).normal(size=(20_000, 3)).astype(np.float32)
    held_out = validation_rows(states, 0.1)
    assert abs(held_out.mean() - 0.1) < 4.5 * np.sqrt(0.09 / len(states))
    order = np.random.default_rng(1).permutation(len(states))
    assert np.array_equal(validation_rows(states[order], 0.1), held_out[order])


@pytest.fixture(scope="module")
def ring():
    """A curve of unit scale that the affine map alone does not describe."""
    rng = np.random.default_rng(1)
    angle = rng.uniform(0, 2 * np.pi, 4000)
    q = np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.1 * rng.normal(size=(4000, 2))
    return q, rng.uniform(-1, 1, (4000, 1))


def test_features_of_a_condition_close_on_themselves_where_it_is_periodic():
    condition = Condition(Space((-1.0, 0.0), (1.0, 4.0), (True, False)))
    at = [condition(jnp.array(z, jnp.float32)) for z in ([-1.0, 0.0], [1.0, 0.0], [-1.0, 4.0], [0.3, 0.0])]
    assert at[0].shape == (condition.size,)
    np.testing.assert_allclose(at[0], at[1], atol=1e-5)
    for other in at[2:]:
        assert np.abs(at[0] - other).max() > 0.5


def test_going_on_takes_a_third_of_the_steps_and_keeps_the_map(ring):
    q, z = ring
    settings, steps = ScoreSettings(width=16, depth=1, training_steps=750, batch_size=32), []
    first = settings.fit(q, z, np.ones(len(q)), jax.random.key(0))
    second = settings.fit(
        q, z, np.ones(len(q)), jax.random.key(1), condition=first.condition, previous=first, on_chunk=steps.append
    )
    assert sum(steps) == settings.steps_for(2, warm=True) == 250
    maps = (one.representation.affine.factor for one in (first, second))
    assert np.array_equal(*maps)
    assert any(
        not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (first.model, second.model)), strict=True)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda q, z, w: (q[:9], z[:9], w[:9]), "at least 50 states", id="few"),
        pytest.param(lambda q, z, w: (np.where(q > 0, q, np.nan), z, w), "q must be finite", id="nan"),
        pytest.param(lambda q, z, w: (q, z, -w), "weight must be finite, not negative", id="negative"),
        pytest.param(lambda q, z, w: (q, z[:, [0, 0]], w), "z must have 1 columns", id="columns"),
        pytest.param(lambda q, z, w: (q + 9, z, w), r"q\[:, 1\] must lie between its bounds", id="outside"),
    ],
)
def test_data_that_do_not_fit_are_refused(ring, change, message):
    q, z, weight = change(*ring, np.ones(4000))
    state, condition = Space((-np.inf, -5.0), (np.inf, 5.0), (False, False)), Space((-1.0,), (1.0,), (False,))
    with pytest.raises(InputError, match=message):
        ScoreSettings().fit(q, z, weight, jax.random.key(0), state=state, condition=condition)
