"""The quadrature that every exact answer stands on, against closed forms."""

import numpy as np

from micromacro.systems.quadrature import average, gauss_legendre, log_integral, product, sample_line


def test_a_panel_is_exact_to_its_degree_and_no_further():
    rule = gauss_legendre([0.0, 2.0], panels=1, order=3)
    exact = [2.0 ** (degree + 1) / (degree + 1) for degree in range(7)]
    found = [rule.nodes[:, 0] ** degree @ rule.weights for degree in range(7)]
    np.testing.assert_allclose(found[:6], exact[:6], rtol=1e-13)
    assert abs(found[6] - exact[6]) > 1e-3


def test_a_jump_at_a_breakpoint_costs_nothing():
    rule = gauss_legendre([-1.0, 0.25, 2.0])
    assert np.isclose((rule.nodes[:, 0] > 0.25) @ rule.weights, 1.75, rtol=1e-13)


def test_a_narrow_gaussian_is_integrated_to_ten_digits():
    deviation = 3.0 / 50
    rule = gauss_legendre([0.0, 3.0])
    found = np.exp(-(((rule.nodes[:, 0] - 1.234) / deviation) ** 2) / 2) @ rule.weights
    assert np.isclose(found, np.sqrt(2 * np.pi) * deviation, rtol=1e-10)


def test_the_product_rule_integrates_products():
    rule = product(gauss_legendre([0.0, 1.0]), gauss_legendre([0.0, 2.0]))
    assert np.isclose((rule.nodes[:, 0] ** 2 * rule.nodes[:, 1] ** 3) @ rule.weights, 1 / 3 * 4)


def test_log_integral_and_average_stand_large_exponents():
    rule = gauss_legendre([-9.0, 9.0])
    centre = np.array([[-0.5], [1.0]])
    log_integrand = 2000.0 - (rule.nodes[:, 0] - centre) ** 2 / 2
    np.testing.assert_allclose(log_integral(log_integrand, rule.weights), 2000 + np.log(2 * np.pi) / 2, rtol=1e-13)
    values = np.broadcast_to(rule.nodes[:, 0], log_integrand.shape)
    np.testing.assert_allclose(average(values, log_integrand, rule.weights), centre[:, 0], rtol=1e-10)
    second = average(np.stack([values, values**2], axis=-1), log_integrand, rule.weights)
    np.testing.assert_allclose(second[:, 1], centre[:, 0] ** 2 + 1, rtol=1e-10)


def test_draws_on_a_line_have_the_moments_of_their_density():
    grid = np.linspace(0, 40, 4001)
    draws = sample_line(2 * np.log(np.maximum(grid, 1e-300)) - grid, grid, 100_000, np.random.default_rng(1))
    # Gamma(3): mean 3, variance 3, fourth central moment 3 * 3² + 6 * 3
    assert abs(draws.mean() - 3) < 4 * np.sqrt(3 / draws.size)
    assert abs(draws.var() - 3) < 4 * np.sqrt((45 - 9) / draws.size)
