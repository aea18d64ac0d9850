"""Diffusion maps against closed forms: at a finite bandwidth exactly, and as it shrinks with the number of points."""

import numpy as np
import pytest
from scipy.special import ive
from scipy.stats import norm

from benchmarks.diffusion_map_convergence import CIRCLE, INTERVAL, ORNSTEIN_UHLENBECK, SYSTEMS, WEIGHTED, convergence
from micromacro.diffusion_maps.diffusion_map import DiffusionMapSettings, fit_diffusion_map


def circle(angle):
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def captured(exact, eigenvectors, measure):
    """Smallest share of a combination of exact functions that the eigenvectors span, in the measure."""
    root = np.sqrt(measure)[:, None]
    first, second = np.linalg.qr(root * exact)[0], np.linalg.qr(root * eigenvectors)[0]
    return np.linalg.svd(first.T @ second, compute_uv=False).min()


def hermite(x, count):
    return np.stack([np.polynomial.hermite_e.hermeval(x, np.eye(count + 1)[k]) for k in range(1, count + 1)], axis=1)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_circle_of_equal_arcs_has_the_eigenvalues_of_the_bandwidth_used(alpha):
    bandwidth = 0.05
    points = circle(2 * np.pi * np.arange(200) / 200)
    found = fit_diffusion_map(points, None, DiffusionMapSettings(6, alpha, bandwidth))
    order = np.array([1, 1, 2, 2, 3, 3])
    exact = ive(order, 1 / (2 * bandwidth)) / ive(0, 1 / (2 * bandwidth))
    np.testing.assert_allclose(found.eigenvalues, exact, rtol=1e-9)
    for k in (1, 2, 3):
        angle = k * np.arctan2(points[:, 1], points[:, 0])
        assert captured(circle(angle), found.eigenvectors[:, order == k], found.stationary) > 1 - 1e-9


def test_torus_has_the_products_of_eigenvalues_of_its_circles():
    bandwidth = 0.1
    angles = 2 * np.pi * np.stack(np.meshgrid(np.arange(22), np.arange(22)), axis=-1).reshape(-1, 2) / 22
    points = np.hstack([circle(angles[:, 0]), circle(angles[:, 1])])
    found = fit_diffusion_map(points, None, DiffusionMapSettings(8, 0.5, bandwidth))
    first = ive(1, 1 / (2 * bandwidth)) / ive(0, 1 / (2 * bandwidth))
    np.testing.assert_allclose(found.eigenvalues, [first] * 4 + [first**2] * 4, rtol=1e-9)


def test_gaussian_weights_on_a_grid_give_hermite_polynomials_of_the_bandwidth_used():
    bandwidth = 0.05
    grid = np.linspace(-9, 9, 600)
    found = fit_diffusion_map(grid[:, None], norm.pdf(grid), DiffusionMapSettings(4, 0.5, bandwidth))
    np.testing.assert_allclose(found.rates, np.arange(1, 5) * np.log1p(bandwidth) / bandwidth, rtol=1e-6)
    deviation = np.sqrt(2 * (1 + bandwidth) / (2 + bandwidth))
    exact = hermite(grid / deviation, 4)
    overlap = (exact * found.stationary[:, None]).T @ found.eigenvectors / np.sqrt([1, 2, 6, 24])[:, None]
    np.testing.assert_allclose(np.abs(overlap), np.eye(4), atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_gaussian_quantiles_have_the_first_rate_of_their_alpha(alpha):
    bandwidth = 0.05
    points = norm.ppf((np.arange(800) + 0.5) / 800)[:, None]
    found = fit_diffusion_map(points, None, DiffusionMapSettings(1, alpha, bandwidth))
    precision = 1 / (2 * bandwidth) + 1 - alpha / (1 + 2 * bandwidth)
    np.testing.assert_allclose(found.eigenvalues, 1 / (2 * bandwidth * precision), rtol=1e-3)
    np.testing.assert_allclose(found.rates, 2 * (1 - alpha), rtol=0.1)


def test_alpha_one_forgets_the_density_and_alpha_zero_does_not():
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * rng.random(2000)
    angle = angle[rng.random(2000) < (1 + 0.8 * np.cos(angle)) / 1.8]
    settings = {alpha: DiffusionMapSettings(2, alpha, 0.02) for alpha in (0.0, 1.0)}
    found = {alpha: fit_diffusion_map(circle(angle), None, each) for alpha, each in settings.items()}
    assert captured(circle(angle), found[1.0].eigenvectors, found[1.0].stationary) > 0.99
    assert captured(circle(angle), found[0.0].eigenvectors, found[0.0].stationary) < 0.9


def test_weights_undo_the_density_that_points_were_drawn_from():
    rng = np.random.default_rng(1)
    points = rng.uniform(-4, 4, size=(1000, 1))
    found = fit_diffusion_map(points, norm.pdf(points[:, 0]), DiffusionMapSettings(2, 0.5, 0.05))
    plain = fit_diffusion_map(points, None, DiffusionMapSettings(2, 0.5, 0.05))
    assert captured(hermite(points[:, 0], 2), found.eigenvectors, found.stationary) > 0.99
    assert captured(hermite(points[:, 0], 2), plain.eigenvectors, found.stationary) < 0.95


@pytest.mark.parametrize(
    ("system", "spare"),
    [(INTERVAL, 0), (CIRCLE, 0), (WEIGHTED, 0), (ORNSTEIN_UHLENBECK, 2)],  # two, of single points in the tails
    ids=lambda given: getattr(given, "name", ""),
)
def test_random_points_have_the_exact_modes(system, spare):
    rng = np.random.default_rng(2)
    points, weight = system.draw(1000, rng)
    found = fit_diffusion_map(points, weight, DiffusionMapSettings(2 + spare, 0.5, system.bandwidth(1000)))
    assert captured(system.modes(points)[:, :2], found.eigenvectors, found.stationary) > 0.96


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_errors_fall_as_predicted_with_the_number_of_points(system):
    pointwise, spectral = convergence(system, counts=(200, 400, 800, 1600), seeds=8)
    assert abs(pointwise.exponent - pointwise.predicted) < 3 * pointwise.exponent_stderr
    if system is not ORNSTEIN_UHLENBECK:  # not compact: no rate is promised, and points far out spoil some
        assert spectral.exponent < spectral.predicted + 2 * spectral.exponent_stderr
        assert spectral.exponent < -0.25
