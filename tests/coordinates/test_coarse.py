"""The one definition of a coarse variable: wrapping, differences by the shortest way, its shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable


@pytest.fixture(scope="module")
def mixed():
    """An angle in [-π, π) and a bounded length."""
    lower, upper = np.array([-np.pi, 0.0]), np.array([np.pi, 2.0])
    return CoarseVariable(lambda q: q[:2], lower, upper, (True, False))


def test_differences_go_the_shortest_way_round_and_only_where_periodic(mixed):
    first, second = np.array([[3.0, 1.9], [-3.0, 0.1]]), np.array([[-3.0, 0.1], [3.0, 1.9]])
    expected = [[6 - 2 * np.pi, 1.8], [2 * np.pi - 6, -1.8]]
    np.testing.assert_allclose(mixed.difference(first, second), expected, rtol=1e-12)


def test_differences_do_not_change_when_either_side_moves_by_periods(mixed):
    rng = np.random.default_rng(0)
    first, second = rng.uniform(-3, 3, (2, 1000, 2))
    turns = np.stack([2 * np.pi * rng.integers(-5, 6, 1000), np.zeros(1000)], axis=1)
    np.testing.assert_allclose(mixed.difference(first + turns, second), mixed.difference(first, second), atol=1e-12)


def test_values_are_wrapped_into_the_range_where_periodic(mixed):
    value = np.asarray(jax.vmap(mixed)(jnp.array([[4.0, 3.0], [-10.0, -1.0], [0.5, 0.5]])))
    np.testing.assert_allclose(value, [[4 - 2 * np.pi, 3.0], [4 * np.pi - 10, -1.0], [0.5, 0.5]], rtol=1e-12)
    assert np.all((value[:, 0] >= -np.pi) & (value[:, 0] < np.pi))


def test_the_slope_of_a_wrapped_value_is_that_of_the_function(mixed):
    np.testing.assert_allclose(jax.jacfwd(mixed)(jnp.array([4.0, 3.0])), np.eye(2))


def test_a_function_that_returns_a_scalar_is_one_component():
    coarse = CoarseVariable(lambda q: q[0] * q[1], np.array([0.0]), np.array([1.0]), (False,))
    assert coarse.dimension == 1
    assert coarse(jnp.array([2.0, 3.0])).shape == (1,)
    assert coarse.range.tolist() == [1.0]
