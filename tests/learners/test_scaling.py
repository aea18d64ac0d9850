"""The arc-length scale: closed forms, evenness, smoothness, ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.errors import InputError
from micromacro.learners.scaling import data_range, fit_arc_length, gradient_squares

X = np.sort(np.random.default_rng(0).uniform(-2, 2, 4000))


def squares_of(slope: np.ndarray) -> np.ndarray:
    return slope[:, None] ** 2


def saturated(steepness: float) -> tuple[np.ndarray, np.ndarray]:
    """A coordinate that is flat in both wells, and its slope, at X."""
    value = np.tanh(steepness * X)
    return value[:, None], steepness * (1 - value**2)


def test_a_saturating_coordinate_becomes_the_length_along_the_line():
    value, slope = saturated(2.0)
    scale = fit_arc_length(value, squares_of(slope), np.ones(len(X)), floor=1e-8)
    z = np.asarray(jax.jit(jax.vmap(scale))(value))[:, 0]
    inner = np.abs(X) < 1.8
    # the slope falls a thousandfold, from bin to bin by a seventh: its course within a bin costs little
    np.testing.assert_allclose(z[inner], (X - np.median(X))[inner], atol=0.003)


def test_the_mean_squared_gradient_along_z_is_one_also_where_it_varies_across():
    rng = np.random.default_rng(1)
    points = np.stack([X, rng.normal(size=len(X))], axis=1)
    coordinate = jax.jit(lambda q: jnp.array([jnp.sinh(q[0]) + 0.3 * q[1]]))
    noise = np.array([[0.5, 0.1], [0.1, 2.0]])
    values, squares = gradient_squares(coordinate, points, noise)
    scale = fit_arc_length(values, squares, np.ones(len(X)))
    _, after = gradient_squares(lambda q: scale(coordinate(q)), points, noise)
    order = np.argsort(values[:, 0])
    even = [after[rows, 0].mean() for rows in np.array_split(order, 12)]
    np.testing.assert_allclose(even, 1.0, rtol=0.05)
    before = [squares[rows, 0].mean() for rows in np.array_split(order, 12)]
    assert max(before) > 5 * min(before)


def test_weights_choose_the_conditional_mean():
    value, half = X[:, None], np.arange(len(X)) % 2
    squares = np.where(half, 4.0, 1.0)[:, None]
    heavy = fit_arc_length(value, squares, np.where(half, 1.0, 1e-9))
    light = fit_arc_length(value, squares, np.where(half, 1e-9, 1.0))
    assert float(jax.grad(lambda v: heavy(v)[0])(jnp.zeros(1))[0]) == pytest.approx(0.5, rel=1e-6)
    assert float(jax.grad(lambda v: light(v)[0])(jnp.zeros(1))[0]) == pytest.approx(1.0, rel=1e-6)


def test_the_scale_rises_everywhere_and_is_smooth_and_straight_beyond_the_data():
    value, slope = saturated(3.0)
    scale = fit_arc_length(value, squares_of(slope), np.ones(len(X)))
    knots = np.asarray(scale.knots[0])
    along = np.sort(np.concatenate([np.linspace(-1.5, 1.5, 1001), knots]))
    function = jax.jit(jax.vmap(lambda v: scale(v[None])[0]))
    first = jax.jit(jax.vmap(jax.grad(lambda v: scale(v[None])[0])))
    second = jax.jit(jax.vmap(jax.grad(jax.grad(lambda v: scale(v[None])[0]))))
    assert np.all(np.diff(np.asarray(function(along)))[np.diff(along) > 0] > 0)
    assert np.all(np.asarray(first(along)) > 0)
    np.testing.assert_allclose(second(np.array([-1.4, -1.1, 1.2])), 0.0, atol=1e-9)
    step = 1e-9 * np.diff(knots).min()
    for derivative in (function, first, second):
        left, right = np.asarray(derivative(knots - step)), np.asarray(derivative(knots + step))
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5 * np.abs(left).max())


def test_the_floor_bounds_how_far_flat_stretches_are_pulled_out():
    value, slope = saturated(6.0)
    wide = fit_arc_length(value, squares_of(slope), np.ones(len(X)), floor=1e-12)
    narrow = fit_arc_length(value, squares_of(slope), np.ones(len(X)), floor=1e-2)
    lengths = [float(np.ptp(np.asarray(jax.jit(jax.vmap(scale))(value)))) for scale in (wide, narrow)]
    assert lengths[0] > 3 * lengths[1]


def test_components_of_different_numbers_of_knots_keep_their_scales():
    value, _ = saturated(1.0)
    repeated = np.repeat(value[::200], 200, axis=0)[: len(X)]
    both = fit_arc_length(np.hstack([value, repeated]), np.ones((len(X), 2)), np.ones(len(X)))
    alone = fit_arc_length(repeated, np.ones((len(X), 1)), np.ones(len(X)))
    tried = np.array([[-3.0], [-0.5], [0.2], [4.0]])
    pairs = np.hstack([0 * tried, tried])
    found, expected = jax.jit(jax.vmap(both))(pairs)[:, 1], jax.jit(jax.vmap(alone))(tried)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_range_keeps_within_the_data_and_counts_points_not_weights():
    values, weight = np.linspace(0, 1, 1001)[:, None], np.linspace(1, 1e-6, 1001)
    weight[-100:] = 0
    lower, upper = data_range(values, weight)
    assert lower[0] == pytest.approx(0.0045, abs=1e-3)
    assert upper[0] == pytest.approx(0.8955, abs=1e-3)
    wider = data_range(values, weight, left_out=0.0, margin=0.1)
    np.testing.assert_allclose(np.concatenate(wider), [-0.09, 0.99], atol=1e-12)


def test_a_coordinate_that_does_not_vary_is_refused():
    with pytest.raises(InputError, match="vary"):
        fit_arc_length(np.ones((50, 1)), np.ones((50, 1)), np.ones(50))
    with pytest.raises(InputError, match="gradient"):
        fit_arc_length(X[:, None], np.zeros((len(X), 1)), np.ones(len(X)))
