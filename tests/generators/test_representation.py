"""The conditional affine map: a bijection with the right log-determinant that leaves unit scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.space import Space
from micromacro.generators.affine import ConditionalAffine, fit_affine
from micromacro.generators.representation import Layout, fit_representation

FREE = np.full(3, np.inf)
ZERO = np.zeros(3)


def synthetic(count, rng):
    """q | z ~ N(m(z), L(z) L(z)^T), all three coordinates bent, one of them 50 times stiffer."""
    z = rng.uniform(-1, 1, (count, 1))
    x = z[:, 0]
    mean = np.stack([np.sin(2 * x), 3 * x, 10 + x**2], axis=1)
    noise = rng.normal(size=(count, 3))
    q = mean + np.stack([(1 + 0.5 * x) * noise[:, 0], 0.02 * noise[:, 1], noise[:, 2] + noise[:, 0] * x], axis=1)
    return q, z


INTERVAL = Space((-1.0,), (1.0,), (False,))


@pytest.fixture(scope="module")
def affine():
    q, z = synthetic(40_000, np.random.default_rng(0))
    return fit_affine(q, z, INTERVAL, np.zeros((3, 1)), ZERO, FREE)


def encoded(affine, q, z):
    return jax.jit(jax.vmap(affine.encode))(jnp.asarray(q), jnp.asarray(z))


def test_decoding_undoes_encoding(affine):
    q, z = synthetic(1000, np.random.default_rng(1))
    residual, _ = encoded(affine, q, z)
    np.testing.assert_allclose(jax.vmap(affine.decode)(residual, jnp.asarray(z)), q, rtol=1e-12, atol=1e-12)


def test_the_log_determinant_is_that_of_the_jacobian(affine):
    q, z = synthetic(200, np.random.default_rng(2))
    _, log_determinant = encoded(affine, q, z)
    jacobian = jax.vmap(jax.jacfwd(lambda q, z: affine.encode(q, z)[0]))(jnp.asarray(q), jnp.asarray(z))
    sign, expected = np.linalg.slogdet(jacobian)
    assert np.all(sign == 1)
    np.testing.assert_allclose(log_determinant, expected, rtol=1e-6, atol=1e-6)


def test_residuals_have_mean_zero_and_unit_covariance_at_every_condition(affine):
    q, z = synthetic(80_000, np.random.default_rng(3))
    residual = np.asarray(encoded(affine, q, z)[0])
    for low in np.linspace(-1, 0.8, 10):
        here = residual[(z[:, 0] >= low) & (z[:, 0] < low + 0.2)]
        # what is left of the curvature between anchors and of the fit's own errors, and 4.5 standard errors
        allowed = 0.08 + 4.5 / np.sqrt(len(here))
        assert np.abs(here.mean(axis=0)).max() < allowed
        assert np.abs(np.cov(here.T) - np.eye(3)).max() < allowed * np.sqrt(2)


def test_the_scale_before_encoding_was_far_from_one():
    q, z = synthetic(10_000, np.random.default_rng(3))
    near = q[np.abs(z[:, 0]) < 0.02]
    assert near.std(axis=0).min() < 0.05


def test_weights_count():
    """Two groups of different means; weights in proportion 1 : 3 move the location to three quarters."""
    rng = np.random.default_rng(4)
    z, group = rng.uniform(-1, 1, (40_000, 1)), rng.integers(0, 2, 40_000)
    q = np.repeat(group[:, None], 3, axis=1) + 0.1 * rng.normal(size=(40_000, 3))
    fitted = fit_representation(q, z, 1.0 + 2 * group, Space.unbounded(3), INTERVAL, rng)
    location = np.asarray(jax.vmap(fitted.affine.location)(jnp.linspace(-0.8, 0.8, 9)[:, None])[0])
    assert np.abs(location - 0.75).max() < 0.06


def test_conditions_far_from_all_data_still_give_an_invertible_map(affine):
    residual, log_determinant = encoded(affine, np.zeros((1, 3)), np.array([[30.0]]))
    assert np.all(np.isfinite(residual))
    assert np.isfinite(log_determinant[0])


@pytest.fixture(scope="module")
def attached():
    """The first coordinate is the periodic coarse variable, and runs over many periods."""
    rng = np.random.default_rng(5)
    z = rng.uniform(0, 2 * np.pi, (40_000, 1))
    angle = z[:, 0] + 1.0 + 0.3 * rng.normal(size=len(z)) + 2 * np.pi * rng.integers(-9, 10, len(z))
    q = np.stack([angle, np.cos(z[:, 0]) + 0.5 * rng.normal(size=len(z))], axis=1)
    state, condition = Space((0.0, -np.inf), (2 * np.pi, np.inf), (True, False)), Space((0.0,), (2 * np.pi,), (True,))
    return fit_representation(q, z, np.ones(len(q)), state, condition, rng), q, z


def test_a_periodic_coordinate_that_follows_the_condition_is_cut_open(attached):
    representation, q, z = attached
    assert representation.circles == ()
    residual = np.asarray(encoded(representation, q, z).state)
    error = 4.5 / np.sqrt(len(q))
    assert np.abs(residual.mean(axis=0)).max() < 0.03 + error
    assert np.abs(residual.std(axis=0) - 1).max() < 0.05 + error


def test_whole_periods_do_not_change_what_is_learned(attached):
    representation, q, z = attached
    turned = q + np.array([6 * np.pi, 0.0])
    np.testing.assert_allclose(encoded(representation, turned, z).state, encoded(representation, q, z).state, atol=1e-4)


def test_the_map_is_continuous_where_the_condition_wraps(attached):
    representation = attached[0]
    q, step = jnp.array([0.1, 0.2]), 1e-6
    before, after = (representation.encode(q, jnp.array([z])).state for z in (2 * np.pi - step, step))
    np.testing.assert_allclose(before, after, atol=1e-4)


def test_a_state_is_decoded_up_to_whole_periods(attached):
    representation, q, z = attached
    back = np.asarray(jax.vmap(representation.decode)(encoded(representation, q, z).state, jnp.asarray(z)))
    turns = (back - q) / np.array([2 * np.pi, 1.0])
    np.testing.assert_allclose(turns[:, 0], np.round(turns[:, 0]), atol=1e-5)
    np.testing.assert_allclose(turns[:, 1], 0, atol=1e-5)


@pytest.fixture(scope="module")
def mixed():
    """An interval, a half-line each way, a full circle and a line; the condition is two-dimensional."""
    rng = np.random.default_rng(6)
    z = rng.uniform([-1, 0], [1, 3], (20_000, 2))
    columns = [
        rng.beta(2, 3, len(z)) * 5 - 1,
        2 + np.exp(rng.normal(0.3 * z[:, 0], 0.5)),
        -1 - rng.gamma(2.0, 1.0, len(z)),
        rng.uniform(0, 360, len(z)),
        z[:, 1] + rng.normal(size=len(z)),
    ]
    state = Space((-1.0, 2.0, -np.inf, 0.0, -np.inf), (4.0, np.inf, -1.0, 360.0, np.inf), (False,) * 3 + (True, False))
    condition, q = Space.containing(z), np.column_stack(columns)
    return fit_representation(q, z, np.ones(len(q)), state, condition, rng), q[:500], z[:500]


def test_bounded_and_circular_coordinates_come_back(mixed):
    representation, q, z = mixed
    assert representation.circles == (3,)
    assert representation.layout == Layout(4, 1)
    found = encoded(representation, q, z)
    assert np.all(np.abs(found.state[:, 4]) <= np.pi)
    # single precision in between
    np.testing.assert_allclose(jax.vmap(representation.decode)(found.state, jnp.asarray(z)), q, rtol=2e-5, atol=2e-5)


def test_the_log_determinant_of_every_kind_of_coordinate_is_that_of_the_jacobian(mixed):
    representation, q, z = mixed
    found = encoded(representation, q, z)
    jacobian = jax.vmap(jax.jacfwd(lambda q, z: representation.encode(q, z).state))(jnp.asarray(q), jnp.asarray(z))
    np.testing.assert_allclose(found.log_determinant, np.linalg.slogdet(jacobian)[1], rtol=1e-5, atol=1e-4)


def test_states_outside_their_bounds_are_not_represented(mixed):
    representation, q, z = mixed
    outside = q[:3] + np.array([[9.0, 0, 0, 0, 0], [0, -9, 0, 0, 0], [0, 0, 99, 0, 0]])
    found = encoded(representation, outside, z[:3])
    assert not np.any(np.isfinite(found.state).all(axis=1) & np.isfinite(found.log_determinant))
    assert isinstance(representation.affine, ConditionalAffine)
