"""Tables against the functions that they interpolate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.sampling.table import Table, fill_nearest, fit_table, padded_grid, zero_table


@jax.jit
def compiled(table, z):
    return jax.vmap(jax.value_and_grad(lambda one: table(one)))(z)


def evaluate(table, z):
    """Values and gradients at `z` `(n, d)`."""
    return tuple(np.asarray(part) for part in compiled(table, jnp.asarray(z)))


def finite_difference(table, z, step=1e-5):
    gradient = np.empty_like(z)
    for axis in range(z.shape[1]):
        shift = step * np.eye(z.shape[1])[axis]
        gradient[:, axis] = (evaluate(table, z + shift)[0] - evaluate(table, z - shift)[0]) / (2 * step)
    return gradient


def random_points(low, high, count=200, seed=0):
    return np.random.default_rng(seed).uniform(low, high, (count, len(low)))


def test_one_dimension_converges_with_the_fourth_power_of_the_spacing(known):
    coarse = known.coarse_variable([-1.0], [2.0], (False,))
    z = random_points([-0.4], [1.4])
    errors = []
    for points in (40, 80):
        table = known.table_of(coarse, points, lambda z: np.sin(3 * z[:, 0]) + z[:, 0] ** 2)
        value, gradient = evaluate(table, z)
        errors.append(np.abs(value - np.sin(3 * z[:, 0]) - z[:, 0] ** 2).max())
        # the gradient of a cubic spline is off by no more than about h^3 f''''/24
        assert np.abs(gradient[:, 0] - 3 * np.cos(3 * z[:, 0]) - 2 * z[:, 0]).max() < (3.0 / points) ** 3 * 81 / 20
    assert errors[0] < 81 * (3.0 / 40) ** 4 * 5 / 384 * 1.5
    assert 3.5 < np.log2(errors[0] / errors[1]) < 4.5


def test_a_table_passes_through_its_values(known):
    values = np.random.default_rng(1).normal(size=(7, 9))
    for periodic in ((False, False), (True, False), (True, True)):
        table = fit_table(values, np.array([-1.0, 2.0]), np.array([0.5, 0.1]), periodic)
        z = np.stack(np.meshgrid(-1 + 0.5 * np.arange(7), 2 + 0.1 * np.arange(9), indexing="ij"), -1).reshape(-1, 2)
        np.testing.assert_allclose(evaluate(table, z)[0], values.ravel(), atol=1e-12)


def test_a_periodic_table_closes_on_itself(known):
    coarse = known.coarse_variable([-np.pi], [np.pi], (True,))
    table = known.table_of(coarse, 60, lambda z: np.cos(z[:, 0]) + 0.5 * np.sin(2 * z[:, 0]))
    z = random_points([-10.0], [10.0])
    value, gradient = evaluate(table, z)
    # the error bound of spline interpolation, 5/384 h^4 |f''''| for the value and h^3/24 |f''''| for the slope
    assert np.abs(value - np.cos(z[:, 0]) - 0.5 * np.sin(2 * z[:, 0])).max() < 9 * (2 * np.pi / 60) ** 4 * 5 / 384
    assert np.abs(gradient[:, 0] + np.sin(z[:, 0]) - np.cos(2 * z[:, 0])).max() < 9 * (2 * np.pi / 60) ** 3 / 24
    seam = np.array([[-np.pi - 1e-9], [np.pi - 1e-9], [np.pi + 1e-9]])
    assert np.ptp(evaluate(table, seam)[0]) < 1e-8


def test_two_dimensions_with_one_periodic(known):
    coarse = known.coarse_variable([-np.pi, -1.0], [np.pi, 2.0], (True, False))
    table = known.table_of(coarse, 60, lambda z: np.sin(z[:, 0]) * z[:, 1] ** 2)
    z = random_points([-7.0, -0.6], [7.0, 1.6])
    value, gradient = evaluate(table, z)
    expected = np.stack([np.cos(z[:, 0]) * z[:, 1] ** 2, 2 * np.sin(z[:, 0]) * z[:, 1]], axis=1)
    np.testing.assert_allclose(value, np.sin(z[:, 0]) * z[:, 1] ** 2, atol=1e-5)
    np.testing.assert_allclose(gradient, expected, atol=2e-4)
    np.testing.assert_allclose(gradient, finite_difference(table, z), atol=1e-7)


def test_beyond_its_grid_a_table_goes_on_straight_and_without_a_kink(known):
    coarse = known.coarse_variable([-1.0], [1.0], (False,))
    table = known.table_of(coarse, 40, lambda z: np.exp(z[:, 0]))
    for end, side in ((-0.975, -1), (0.975, 1)):
        z = end + side * np.array([[0.0], [0.5], [5.0], [50.0]])
        value, gradient = evaluate(table, z)
        assert np.allclose(gradient, gradient[0], rtol=1e-12)
        np.testing.assert_allclose(value, value[0] + gradient[0] * (z[:, 0] - end), rtol=1e-9)
        # slope of the natural spline at its end: off by no more than the missing curvature times the spacing
        assert abs(gradient[0, 0] - np.exp(end)) < 0.05 * np.exp(end)
        inside, outside = evaluate(table, np.array([[end - side * 1e-7], [end + side * 1e-7]]))[1][:, 0]
        assert abs(inside - outside) < 1e-4 * np.exp(end)


def test_the_gradient_is_that_of_the_value_beyond_the_grid_in_two_dimensions(known):
    coarse = known.coarse_variable([-1.0, -1.0], [1.0, 1.0], (False, False))
    table = known.table_of(coarse, 30, lambda z: np.sin(2 * z[:, 0]) * np.exp(z[:, 1]))
    z = random_points([-2.0, -2.0], [2.0, 2.0])
    outside = np.any(np.abs(z) > 1, axis=1)
    assert 100 < outside.sum() < 200
    np.testing.assert_allclose(evaluate(table, z)[1], finite_difference(table, z), atol=1e-6)


def test_a_table_is_linear_along_the_axis_that_it_leaves(known):
    coarse = known.coarse_variable([-1.0, -1.0], [1.0, 1.0], (False, False))
    table = known.table_of(coarse, 30, lambda z: np.sin(2 * z[:, 0]) * np.exp(z[:, 1]))
    one, two, three = (evaluate(table, np.array([[x, 0.3]]))[0][0] for x in (1.5, 2.0, 2.5))
    assert abs(one - 2 * two + three) < 1e-12
    assert abs(one - two) > 0.1


def test_unknown_cells_take_the_nearest_value():
    values = np.array([np.nan, 1.0, np.inf, 3.0, 4.0, np.nan, np.nan])
    filled = fill_nearest(values)
    np.testing.assert_array_equal(filled[[0, 1, 3, 4, 5, 6]], [1, 1, 3, 4, 4, 4])
    assert filled[2] in (1.0, 3.0)
    plane = np.full((4, 4), np.nan)
    plane[0, 0], plane[3, 3] = 1.0, 2.0
    np.testing.assert_array_equal(fill_nearest(plane)[[0, 1, 3, 2], [1, 0, 2, 3]], [1, 1, 2, 2])
    np.testing.assert_array_equal(fill_nearest(np.full(3, np.nan)), np.zeros(3))


def test_unknown_cells_look_round_the_seam_of_a_periodic_axis():
    values = np.array([np.nan, np.nan, np.nan, 5.0, 5.0, 5.0, 5.0, 7.0])
    for periodic, expected in ((True, [7, 7, 5, 5, 5, 5, 5, 7]), (False, [5, 5, 5, 5, 5, 5, 5, 7])):
        table = fit_table(values, np.zeros(1), np.ones(1), (periodic,))
        np.testing.assert_allclose(evaluate(table, np.arange(8.0)[:, None])[0], expected, atol=1e-12)


def test_a_table_with_unknown_cells_is_finite_everywhere(known):
    coarse = known.coarse_variable([-1.0], [1.0], (False,))
    table = known.table_of(coarse, 40, lambda z: np.where(np.abs(z[:, 0] - 0.3) < 0.6, z[:, 0] ** 2, np.nan))
    value, gradient = evaluate(table, np.linspace(-3, 3, 100)[:, None])
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    known_part = np.linspace(-0.05, 0.65, 50)[:, None]
    np.testing.assert_allclose(evaluate(table, known_part)[0], known_part[:, 0] ** 2, atol=1e-4)


@pytest.mark.parametrize("periodic", [(True, False), (False, False)])
def test_the_padded_grid_adds_cells_at_bounded_ends_only(known, periodic):
    coarse = known.coarse_variable([-1.0, 0.0], [1.0, 5.0], periodic)
    origin, spacing, shape = padded_grid(coarse, 10, 3)
    assert shape == tuple(10 if wraps else 16 for wraps in periodic)
    np.testing.assert_allclose(spacing, [0.2, 0.5])
    # cell edges, not centres, lie on the ends of the range
    np.testing.assert_allclose(origin - spacing / 2 + np.where(periodic, 0, 3) * spacing, [-1.0, 0.0])
    table = zero_table(coarse, 10)
    assert isinstance(table, Table)
    value, gradient = evaluate(table, random_points([-9.0, -9.0], [9.0, 9.0]))
    assert not value.any()
    assert not gradient.any()
