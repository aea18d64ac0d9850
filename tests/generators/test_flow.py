"""The flow: triangular layers, a density that is one, draws that follow it, reals and angles together."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.space import Space
from micromacro.generators.autoregressive import Autoregressive, sources
from micromacro.generators.condition import Condition
from micromacro.generators.flow import FlowModel, FlowSettings
from micromacro.generators.representation import Layout

LAYOUT = Layout(2, 2)
CONDITION = Condition(Space((-1.0,), (1.0,), (False,)))
SIZES = 8, 2, 6  # width, depth, bins
Z = jnp.array([0.3], jnp.float32)


def _random(model, seed, scale=0.2):
    """The same model with random parameters: far from the identity, but not wild."""
    leaves, structure = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [
        leaf + scale * jax.random.normal(key, leaf.shape, leaf.dtype) for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


def _model(layout: Layout, layers: int) -> FlowModel:
    settings = FlowSettings(width=SIZES[0], depth=SIZES[1], knots=SIZES[2], layers=layers)
    return _random(settings.build(layout, CONDITION, jax.random.key(0)), 1)


@eqx.filter_jit
def _log_probs(model: FlowModel, x: jax.Array):
    return jax.vmap(model.log_prob, (0, None))(x, Z)


@eqx.filter_jit
def _log_densities(model: FlowModel, x: jax.Array) -> jax.Array:
    """The same of a batch on the last axis."""
    return model.log_density(x.T, jnp.broadcast_to(model.condition(Z)[:, None], (CONDITION.size, len(x))))


def _states(layout: Layout, n: int) -> jax.Array:
    rng = np.random.default_rng(2)
    reals, angles = 1.5 * rng.normal(size=(n, layout.reals)), rng.uniform(-np.pi, np.pi, (n, layout.circles))
    return jnp.asarray(np.hstack([reals, angles]), jnp.float32)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_layer_is_triangular_with_the_slopes_that_it_gives(backwards):
    layer = _random(Autoregressive.new(LAYOUT, CONDITION.size, SIZES, backwards, jax.random.key(0)), 1)
    features, x, direction = CONDITION(Z), _states(LAYOUT, 1)[0], jnp.asarray(backwards)
    jacobian = jax.jit(jax.jacobian(lambda x: layer.forward(x, features, direction).value))(x)
    wrong_side = np.tril(jacobian, -1) if backwards else np.triu(jacobian, 1)
    other_side = np.triu(jacobian, 1) if backwards else np.tril(jacobian, -1)
    assert np.all(wrong_side == 0)
    assert np.count_nonzero(other_side) == 6
    np.testing.assert_allclose(layer.forward(x, features, direction).log_slope, np.log(np.diag(jacobian)), atol=1e-4)


def test_coordinates_apart_see_no_others_and_are_seen_by_none():
    model, x = _model(Layout(2, 2, apart=(1, 3)), 2), _states(LAYOUT, 1)[0]
    hessian = np.asarray(jax.jit(jax.hessian(lambda x: model.log_prob(x, Z)[0]))(x))
    assert np.all(hessian[[0, 0, 1, 1, 2, 3], [1, 3, 2, 3, 3, 0]] == 0)
    assert abs(hessian[0, 2]) > 1e-6
    other = jax.jit(jax.jacobian(lambda z: jax.grad(lambda x: model.log_prob(x, z)[0])(x)))(Z)
    assert np.all(np.abs(other) > 0)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_layer_leads_back(backwards):
    layer = _random(Autoregressive.new(LAYOUT, CONDITION.size, SIZES, backwards, jax.random.key(0)), 1)
    features, u, direction = CONDITION(Z), _states(LAYOUT, 200), jnp.asarray(backwards)

    def there_and_back(u):
        return layer.forward(layer.inverse(u, features, direction), features, direction).value

    # from the base to the data and back: the other way, rounding is magnified by far more where a spline is flat
    np.testing.assert_allclose(jax.jit(jax.vmap(there_and_back))(u), u, atol=1e-3)


def test_a_new_model_is_its_base():
    model = FlowSettings(width=8).build(LAYOUT, CONDITION, jax.random.key(0))
    x = _states(LAYOUT, 20)
    log_prob, known = _log_probs(model, x)
    np.testing.assert_allclose(log_prob, jax.vmap(model.base.log_prob)(x), atol=1e-5)
    assert known.all()


def test_a_batch_on_the_last_axis_is_what_its_members_are():
    model, x = _model(LAYOUT, 2), _states(LAYOUT, 20)
    np.testing.assert_allclose(_log_densities(model, x), _log_probs(model, x)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", [Layout(2, 0), Layout(1, 1), Layout(0, 2)])
def test_the_density_integrates_to_one_and_draws_follow_it(layout):
    model = _model(layout, 2)
    axes = [np.linspace(-14, 14, 1201)] * layout.reals + [np.linspace(-np.pi, np.pi, 361)[:-1]] * layout.circles
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    share = np.exp(_log_densities(model, jnp.asarray(grid, jnp.float32)), dtype=float)
    share *= np.prod([axis[1] - axis[0] for axis in axes])
    assert abs(share.sum() - 1) < 3e-3
    draws = jax.jit(jax.vmap(model.draw_with_density, (None, 0)))(Z, jax.random.split(jax.random.key(3), 20_000))
    assert draws.valid.all()
    states = np.asarray(draws.state, float)
    for function in (np.cos, np.sin, np.tanh):
        seen, expected = function(states), share @ function(grid)
        assert np.all(np.abs(seen.mean(axis=0) - expected) < 4.5 * seen.std(axis=0) / np.sqrt(len(seen)) + 3e-3)
    again = _log_probs(model, draws.state)[0]
    np.testing.assert_allclose(again, draws.log_prob, atol=1e-3)


def test_a_density_goes_round_with_an_angle():
    model = _model(Layout(1, 1), 2)
    ends = jnp.array([[0.4, -np.pi], [0.4, np.pi - 1e-6]], jnp.float32)
    one, other = _log_probs(model, ends)[0]
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_data_far_out_have_a_finite_density():
    model = _model(Layout(2, 0), 2)
    log_prob, known = _log_probs(model, jnp.array([[1e3, 0.0], [-40.0, 40.0]], jnp.float32))
    assert known.all()
    assert np.all(np.isfinite(log_prob))


def test_dependence_is_the_size_of_the_weights_on_other_coordinates():
    """Up and down the coordinates; all features of an angle count as one."""
    layout = Layout(1, 2)
    model = FlowSettings(width=4, layers=2).build(layout, CONDITION, jax.random.key(0))
    enter = np.asarray(model.layers.conditioner.enter, float)
    expected, source = 0.0, sources(layout)
    for layer, backwards in enumerate((False, True)):
        for own in range(3):
            for other in range(own + 1, 3) if backwards else range(own):
                expected += np.linalg.norm(enter[layer, own][:, : len(source)][:, source == other])
    assert float(model.dependence()) == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_a_price_on_dependence_pays_where_many_coordinates_are_independent():
    """Of 20 normal coordinates only the second depends on the first: without a price, the others learn noise."""
    rng = np.random.default_rng(0)
    train_q, test_q = rng.normal(size=(2, 3000, 20))
    for q in (train_q, test_q):
        q[:, 1] += q[:, 0] ** 2
    z = rng.uniform(-1, 1, (3000, 1))

    def held_out(sparsity):
        settings = FlowSettings(training_steps=2000, sparsity=sparsity)
        fitted = settings.fit(train_q, z, np.ones(len(z)), jax.random.key(0))
        return np.mean(np.asarray(jax.jit(jax.vmap(fitted.log_prob))(jnp.asarray(test_q), jnp.asarray(z))[0]))

    assert held_out(30.0) > held_out(0.0) + 0.1
