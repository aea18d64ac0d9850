"""Splines as maps: monotone, inverted, their slopes those of automatic differentiation; line and circle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.generators.splines import map_back, map_forward, raw_size, spline_of

BINS = 7
REACHES = {"line": 4.0, "circle": np.pi}


def _points(reach: float, *, beyond: float = 1.0) -> jax.Array:
    # none of them on an outermost knot, where differentiation takes the mean of both sides
    return jnp.linspace(-beyond * reach, beyond * reach, 2002)


@pytest.fixture(params=REACHES)
def kind(request):
    """Whether on a circle, and the reach."""
    return request.param == "circle", REACHES[request.param]


def _splines(kind, scale, points, *, seed=0):
    """A random spline, the same at every point, in double precision; `scale` of its raw parameters."""
    circle, reach = kind
    raw = scale * np.random.default_rng(seed).normal(size=(raw_size(BINS), 1))
    raw = jnp.broadcast_to(jnp.asarray(raw), (raw_size(BINS), points.size))
    return spline_of(raw, jnp.full(points.shape, reach), jnp.full(points.shape, circle))


def test_it_is_the_identity_where_parameters_are_zero(kind):
    x = _points(kind[1], beyond=1.5)
    mapped = map_forward(x, _splines(kind, 0.0, x))
    np.testing.assert_allclose(mapped.value, x, atol=1e-6)
    np.testing.assert_allclose(mapped.log_slope, 0.0, atol=1e-6)


@pytest.mark.parametrize("scale", [0.3, 2.0, 6.0])
def test_it_rises_everywhere(kind, scale):
    x = _points(kind[1], beyond=1.0 if kind[0] else 2.0)
    value = map_forward(x, _splines(kind, scale, x)).value
    assert np.all(np.diff(value) > 0)


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_the_inverse_leads_back(kind, scale):
    x = _points(kind[1], beyond=1.0 if kind[0] else 2.0)
    spline = _splines(kind, scale, x)
    np.testing.assert_allclose(map_back(map_forward(x, spline).value, spline), x, atol=1e-7 * np.exp(2 * scale))


def test_the_inverse_leads_back_in_single_precision(kind):
    x = _points(kind[1]).astype(jnp.float32)
    spline = jax.tree.map(lambda part: part.astype(jnp.float32), _splines(kind, 1.0, x))
    mapped = map_forward(x, spline)
    assert mapped.value.dtype == jnp.float32
    # what rounding the value does to the point, and half as much again
    bound = 1.5e-6 * (1 + np.exp(-np.asarray(mapped.log_slope)))
    assert np.all(np.abs(map_back(mapped.value, spline) - x) < bound)


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_the_slope_is_that_of_automatic_differentiation(kind, scale):
    x = _points(kind[1], beyond=0.999 if kind[0] else 2.0)
    spline = _splines(kind, scale, x)
    slope = jax.grad(lambda x: jnp.sum(map_forward(x, spline).value))(x)
    np.testing.assert_allclose(map_forward(x, spline).log_slope, jnp.log(slope), atol=1e-6)


def test_tails_are_straight_and_join_smoothly():
    kind = False, REACHES["line"]
    x = jnp.array([3.999999, 4.000001, 5.0, 6.0, -3.999999, -4.000001, -5.0, -6.0])
    value, log_slope = map_forward(x, _splines(kind, 1.0, x))
    for inner, joint, near, far in (range(4), range(4, 8)):
        np.testing.assert_allclose(log_slope[inner], log_slope[joint], atol=1e-4)
        np.testing.assert_allclose((value[far] - value[near]) / (x[far] - x[near]), jnp.exp(log_slope[near]), rtol=1e-6)


def test_a_circle_is_mapped_to_itself_once_around_and_smoothly():
    kind = True, np.pi
    x = jnp.array([-np.pi, np.pi])
    value, log_slope = map_forward(x, _splines(kind, 1.5, x))
    np.testing.assert_allclose(value, x, atol=1e-12)
    np.testing.assert_allclose(log_slope[0], log_slope[1], atol=1e-12)


def test_gradients_are_finite_at_extreme_parameters(kind):
    x = _points(kind[1], beyond=1.0 if kind[0] else 3.0).astype(jnp.float32)

    def total(raw):
        spline = spline_of(raw, jnp.full(x.shape, kind[1], jnp.float32), jnp.full(x.shape, kind[0]))
        return jnp.sum(map_forward(x, spline).log_slope)

    raw = 30 * np.random.default_rng(3).normal(size=(raw_size(BINS), x.size))
    assert np.all(np.isfinite(jax.grad(total)(jnp.asarray(raw, jnp.float32))))
