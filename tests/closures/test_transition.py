"""Transition densities against exact laws: moments, orders in the lag, normalisation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.linalg import expm

from micromacro.closures.linear_flow import linear_flow, lower_factor, product, solve_lower
from micromacro.closures.schemes import SCHEMES
from micromacro.closures.transition import scheme_bias, sigma_points

GAUSSIAN = ["euler-maruyama", "local-linearisation", "statistical-linearisation"]


def van_loan(slope, noise, lag):
    """Both integrals of `linear_flow` by the exponentials of block matrices."""
    d, zero = len(slope), np.zeros_like(slope)
    integral = expm(lag * np.block([[slope, np.eye(d)], [zero, zero]]))[:d, d:]
    block = expm(lag * np.block([[-slope, noise], [zero, slope.T]]))
    return integral, block[d:, d:].T @ block[:d, d:]


def linear(slope, offset, diffusion):
    """The coefficients of an Ornstein–Uhlenbeck process."""
    factor = np.linalg.cholesky(diffusion)
    return lambda z: (jnp.asarray(slope) @ z + offset, jnp.asarray(factor))


def geometric(rate, noise):
    """dz = rate z dt + noise z dW."""
    return lambda z: (rate * z, jnp.abs(noise * z)[:, None] / np.sqrt(2))


def geometric_moments(rate, noise, start, lag):
    """Exact mean displacement and variance."""
    growth = np.exp(rate * lag)
    return start * (growth - 1), start**2 * growth**2 * np.expm1(noise**2 * lag)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("size", [0.0, 0.3, 3.0])
def test_linear_flow_is_that_of_the_block_exponential(d, size):
    rng = np.random.default_rng(d)
    slope = -size * np.eye(d) + 0.3 * size * rng.normal(size=(d, d))
    root = rng.normal(size=(d, d))
    noise = root @ root.T
    found = linear_flow(jnp.asarray(slope), jnp.asarray(noise), 0.7)
    for part, exact in zip(found, van_loan(slope, noise, 0.7), strict=True):
        np.testing.assert_allclose(part, exact, rtol=3e-6, atol=1e-9)


def test_linear_flow_has_derivatives_where_the_slope_vanishes():
    def slope_of_mean(slope):
        return float(jax.grad(lambda J: linear_flow(jnp.full((1, 1), J), jnp.eye(1), 2.0)[0][0, 0])(slope))

    assert slope_of_mean(0.0) == pytest.approx(2.0)  # of h + J h²/2
    assert slope_of_mean(0.004999) == pytest.approx(slope_of_mean(0.005001), rel=1e-5)


def test_small_matrix_algebra():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    matrix, value = root @ root.T, rng.normal(size=3)
    factor = lower_factor(jnp.asarray(matrix))
    np.testing.assert_allclose(factor, np.linalg.cholesky(matrix), rtol=1e-12)
    np.testing.assert_allclose(solve_lower(factor, jnp.asarray(value)), np.linalg.solve(factor, value), rtol=1e-9)
    np.testing.assert_allclose(product(factor, factor.T), matrix, rtol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_sigma_points_have_the_moments_of_the_normal_law(d):
    points, weights = sigma_points(d)
    np.testing.assert_allclose(weights @ points, 0, atol=1e-14)
    np.testing.assert_allclose(np.einsum("p,pa,pb->ab", weights, points, points), np.eye(d), atol=1e-14)


@pytest.mark.parametrize("scheme", ["local-linearisation", "statistical-linearisation"])
def test_linearising_schemes_are_exact_for_a_linear_equation_at_any_lag(scheme):
    """Full D, a rotating drift, lag of the order of the relaxation time; Euler–Maruyama is far off."""
    slope, diffusion = np.array([[-1.0, 0.6], [-0.4, -2.0]]), np.array([[1.0, 0.5], [0.5, 0.8]])
    offset, start, lag = np.array([0.3, -0.1]), np.array([0.5, -0.7]), 1.2
    coefficients = linear(slope, offset, diffusion)
    integral, covariance = van_loan(slope, 2 * diffusion, lag)
    mean = integral @ (slope @ start + offset)
    found = SCHEMES[scheme].moments(coefficients, jnp.asarray(start), lag)
    np.testing.assert_allclose(found[0], mean, rtol=1e-6)
    np.testing.assert_allclose(found[1], covariance, rtol=1e-6)
    moved = mean + np.array([0.4, 0.1])
    log_density = SCHEMES[scheme].log_density(coefficients, jnp.asarray(start), jnp.asarray(moved), lag)
    assert log_density == pytest.approx(stats.multivariate_normal(mean, covariance).logpdf(moved), rel=1e-6)
    crude = SCHEMES["euler-maruyama"].moments(coefficients, jnp.asarray(start), lag)
    assert np.abs(crude[1] / covariance - 1).max() > 0.5


@pytest.mark.parametrize(
    ("scheme", "order"),
    [("euler-maruyama", 1), ("milstein", 1), ("local-linearisation", 1), ("statistical-linearisation", 2)],
)
def test_order_of_the_moments_for_multiplicative_noise(scheme, order):
    """The relative error of the variance of geometric Brownian motion falls as the lag to the order of the scheme."""
    start, lags, errors = jnp.array([1.3]), np.array([0.08, 0.04]), []
    for lag in lags:
        _, variance = SCHEMES[scheme].moments(geometric(0.5, 0.8), start, lag)
        errors.append(abs(variance[0, 0] / geometric_moments(0.5, 0.8, 1.3, lag)[1] - 1))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)
    assert SCHEMES[scheme].order == order


def test_statistical_linearisation_is_second_order_for_a_curved_drift():
    """dz = (z - z³) dt + dW: the mean displacement against its expansion to third order in the lag."""
    scheme = SCHEMES["statistical-linearisation"]

    def coefficients(z):
        return z - z**3, jnp.full((1, 1), np.sqrt(0.5))

    def repeated_generator(function, times):
        """L f = b f' + f''/2, so often."""
        for _ in range(times):
            function = (lambda f: lambda z: (z - z**3) * jax.grad(f)(z) + 0.5 * jax.grad(jax.grad(f))(z))(function)
        return function

    z, errors = 0.7, []
    taylor = [repeated_generator(lambda x: x, k)(z) for k in (1, 2, 3, 4)]
    for lag in (0.02, 0.01):
        exact = lag * taylor[0] + lag**2 / 2 * taylor[1] + lag**3 / 6 * taylor[2] + lag**4 / 24 * taylor[3]
        errors.append(abs(scheme.moments(coefficients, jnp.array([z]), lag)[0][0] - exact) / lag)
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize(("place", "noise"), [(0.8, 0.3), (-0.8, 0.9), (0.8, 1.5)])
def test_density_of_milstein_is_that_of_its_step(place, noise):
    """Residuals of its own steps are normal short of the tail that replaces the singularity; its integral is one."""
    scheme, start, lag, rng = SCHEMES["milstein"], jnp.array([place]), 0.4, np.random.default_rng(0)
    coefficients, normal = geometric(0.2, noise), rng.standard_normal(4000)
    size = noise * abs(place) * np.sqrt(lag)
    steps = 0.2 * place * lag + size * normal + 0.5 * noise**2 * place * lag * (normal**2 - 1)
    residuals = jax.vmap(lambda moved: scheme.residual(coefficients, start, moved, lag))(steps[:, None])[:, 0]
    points = np.linspace(-0.3, 2, 9)
    share = np.mean(np.sign(place) * np.asarray(residuals) <= points[:, None], axis=1)
    assert np.abs(share - stats.norm.cdf(points)).max() < 1.63 / np.sqrt(len(steps))
    density = jax.jit(lambda moved: jnp.exp(scheme.log_density(coefficients, start, moved[None], lag)))
    ends = np.sort([-place * 12, 0.2 * place * lag - 0.5 * noise**2 * place * lag - place / 2, place * 30 * size])
    mass = sum(integrate.quad(density, *pair, limit=400)[0] for pair in itertools.pairwise(ends))
    assert mass == pytest.approx(1, abs=1e-4)


def test_milstein_is_smooth_where_the_noise_is_constant_and_beyond_its_reach():
    scheme, start = SCHEMES["milstein"], jnp.array([1.0])

    def value(slope, moved):
        return scheme.log_density(
            lambda z: (-z, jnp.sqrt(1 + slope * (z - 1))[:, None]), start, jnp.array([moved]), 0.5
        )

    constant = SCHEMES["euler-maruyama"].log_density(lambda z: (-z, jnp.ones((1, 1))), start, jnp.array([0.3]), 0.5)
    assert value(0.0, 0.3) == pytest.approx(float(constant), rel=1e-9)
    assert value(1e-7, 0.3) == pytest.approx(float(constant), rel=1e-5)
    for moved in (0.3, -6.0, -60.0):
        for slope in (0.0, 2.0):
            assert np.isfinite(jax.grad(value)(slope, moved))
    assert value(2.0, -60.0) < value(2.0, -6.0) < value(2.0, 0.0)


def test_milstein_beats_euler_maruyama_by_an_order():
    """Mean log density lost against the exact law of dz = z dW: as h for Euler–Maruyama, faster for Milstein."""
    start, points = jnp.array([1.0]), np.polynomial.hermite_e.hermegauss(80)
    loss = {}
    for lag in (0.04, 0.02):
        growth = np.exp(np.sqrt(lag) * points[0] - lag / 2)
        exact = -0.5 * points[0] ** 2 - 0.5 * np.log(2 * np.pi * lag) - np.log(growth)
        for name in ("euler-maruyama", "milstein"):
            each = jax.vmap(
                lambda moved, name=name, lag=lag: SCHEMES[name].log_density(geometric(0, 1.0), start, moved, lag)
            )
            lost = exact - np.asarray(each(jnp.asarray(growth[:, None] - 1)))
            loss[name, lag] = points[1] @ lost / points[1].sum()
    assert loss["milstein", 0.04] < 0.1 * loss["euler-maruyama", 0.04]
    assert np.log2(loss["euler-maruyama", 0.04] / loss["euler-maruyama", 0.02]) == pytest.approx(1, abs=0.2)
    assert np.log2(loss["milstein", 0.04] / loss["milstein", 0.02]) > 1.7


@pytest.mark.parametrize("scheme", [*GAUSSIAN, "milstein"])
def test_bias_by_step_doubling_is_that_of_the_scheme(scheme):
    """Of D for geometric Brownian motion: the variance that the scheme gets wrong, over twice the lag."""
    start, lag = jnp.array([1.3]), 0.1
    bias, found = scheme_bias(SCHEMES[scheme], geometric(0.5, 0.8), start, lag)
    exact = geometric_moments(0.5, 0.8, 1.3, lag)
    mean, variance = SCHEMES[scheme].moments(geometric(0.5, 0.8), start, lag)
    assert found[0, 0] == pytest.approx(float(variance[0, 0] - exact[1]) / (2 * lag), rel=0.35)
    assert bias[0] == pytest.approx(float(mean[0] - exact[0]) / lag, rel=0.35, abs=1e-4)
    two = scheme_bias(SCHEMES["statistical-linearisation"], linear(-np.eye(2), 0.0, np.eye(2)), jnp.ones(2), 0.5)
    np.testing.assert_allclose(np.concatenate([two[0], two[1].ravel()]), 0, atol=1e-9)
