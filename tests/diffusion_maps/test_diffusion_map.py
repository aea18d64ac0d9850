"""Diffusion maps: dense, sparse and on landmarks."""

import numpy as np
import pytest
from scipy.stats import t as student_t

from micromacro.diffusion_maps.diffusion_map import DiffusionMapSettings, fit_diffusion_map
from micromacro.diffusion_maps.memory import memory_bytes
from micromacro.errors import InputError


def circle(size: int, seed: int = 0) -> np.ndarray:
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, size)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def strip(size: int, seed: int = 0) -> np.ndarray:
    """Uniform on a rectangle whose modes along x are the slowest."""
    return np.random.default_rng(seed).random((size, 2)) * [3.0, 1.0]


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return abs(np.corrcoef(first, second)[0, 1])


def test_sparse_with_all_neighbours_is_dense():
    points = strip(300)
    dense = fit_diffusion_map(points, None, DiffusionMapSettings(components=5))
    sparse = fit_diffusion_map(points, None, DiffusionMapSettings(components=5, dense=0, neighbours=300))
    assert sparse.kernel.bandwidth == pytest.approx(dense.kernel.bandwidth, rel=1e-4)
    settings = DiffusionMapSettings(components=5, dense=0, neighbours=300, bandwidth=dense.kernel.bandwidth)
    same = fit_diffusion_map(points, None, settings)
    np.testing.assert_allclose(same.eigenvalues, dense.eigenvalues, rtol=1e-10)
    np.testing.assert_allclose(same.eigenvectors, dense.eigenvectors, atol=1e-8)


def test_weights_move_the_walk_to_their_measure():
    """Uniform samples with the weights of a Gaussian have the Ornstein-Uhlenbeck rates 1, 2 with α = 1/2."""
    points = np.linspace(-5, 5, 1500)[:, None]
    found = fit_diffusion_map(points, np.exp(-0.5 * points[:, 0] ** 2), DiffusionMapSettings(components=2))
    np.testing.assert_allclose(found.rates, [1, 2], rtol=0.02)
    assert correlation(found.eigenvectors[:, 0], points[:, 0]) > 0.999


def test_pieces_are_named():
    points = np.concatenate([circle(200), circle(150) + 100])
    with pytest.raises(InputError, match="2 pieces of 200, 150 points"):
        fit_diffusion_map(points, None, DiffusionMapSettings(bandwidth=0.01))


def test_sparse_is_near_dense():
    points = strip(1500)
    dense = fit_diffusion_map(points, None, DiffusionMapSettings(components=2, alpha=1.0))
    np.testing.assert_allclose(dense.rates[0], (np.pi / 3) ** 2, rtol=0.15)
    settings = DiffusionMapSettings(components=2, alpha=1.0, dense=0)
    bandwidth = fit_diffusion_map(points, None, settings).kernel.bandwidth
    assert bandwidth < dense.kernel.bandwidth
    sparse = fit_diffusion_map(points, None, settings)
    dense = fit_diffusion_map(points, None, DiffusionMapSettings(components=2, alpha=1.0, bandwidth=bandwidth))
    assert correlation(dense.eigenvectors[:, 0], sparse.eigenvectors[:, 0]) > 0.998
    np.testing.assert_allclose(sparse.rates[0], dense.rates[0], rtol=0.02)


def test_landmarks_are_near_all_points():
    points = strip(1500)
    weight = np.exp(-points[:, 0])
    whole = fit_diffusion_map(points, weight, DiffusionMapSettings(components=2))
    found = fit_diffusion_map(points, weight, DiffusionMapSettings(components=2, landmarks=500))
    assert np.sum(np.isfinite(found.log_normalisation)) == 500
    assert found.eigenvectors.shape == (1500, 2)
    assert correlation(found.eigenvectors[:, 0], whole.eigenvectors[:, 0]) > 0.998
    np.testing.assert_allclose(found.rates[0], whole.rates[0], rtol=0.06)
    assert found.stationary.sum() == pytest.approx(1)


def test_coordinates_beside_landmarks_are_those_of_the_walk():
    """Every point obeys the eigenvalue equation of the walk with its columns on the landmarks alone."""
    points = circle(400)
    found = fit_diffusion_map(points, None, DiffusionMapSettings(components=2, landmarks=200))
    squares = np.sum((points[:, None] - points) ** 2, axis=2)
    walk = np.exp(found.log_normalisation - squares / (4 * found.kernel.bandwidth))
    walk /= walk.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(walk @ found.eigenvectors, found.eigenvectors * found.eigenvalues, atol=1e-9)


def test_points_of_no_weight_follow():
    points = np.random.default_rng(2).uniform(-4, 4, 900)[:, None]
    weight = np.where(np.abs(points[:, 0]) < 3, np.exp(-0.5 * points[:, 0] ** 2), 0.0)
    found = fit_diffusion_map(points, weight, DiffusionMapSettings(components=2))
    bare = found.stationary == 0
    np.testing.assert_array_equal(bare, weight == 0)
    assert np.isfinite(found.eigenvectors).all()
    ends = found.eigenvectors[bare & (points[:, 0] > 0), 0]
    assert np.ptp(ends) < 0.5
    assert np.abs(ends).min() > np.abs(found.eigenvectors[~bare & (np.abs(points[:, 0]) < 1), 0]).max()


def test_weights_mean_nothing_to_the_laplacian():
    points = strip(400)
    settings = DiffusionMapSettings(components=3, alpha=1.0)
    weight = np.where(points[:, 0] < 1, 0.0, points[:, 1])
    weighted = fit_diffusion_map(points, weight, settings)
    np.testing.assert_array_equal(weighted.eigenvectors, fit_diffusion_map(points, None, settings).eigenvectors)


@pytest.mark.parametrize("dense", [0, 3000])
def test_same_every_time(dense):
    points = strip(700)
    first, second = (fit_diffusion_map(points, None, DiffusionMapSettings(dense=dense)) for _ in range(2))
    np.testing.assert_array_equal(first.eigenvectors, second.eigenvectors)


def test_sparse_in_a_metric_finds_its_own_neighbours():
    """With x measured a hundred times as finely as y, neighbours in the metric are not those by Euclidean distance."""
    points = strip(600)
    metric = np.tile(np.diag([1.0, 1e-4]), (600, 1, 1))
    scaled = points * [1.0, 1e-2]
    settings = DiffusionMapSettings(components=2, dense=0, neighbours=40)
    found, same = fit_diffusion_map(points, None, settings, metric=metric), fit_diffusion_map(scaled, None, settings)
    np.testing.assert_allclose(found.eigenvalues, same.eigenvalues, rtol=1e-8)
    euclidean = fit_diffusion_map(points, None, settings)
    assert np.abs(euclidean.eigenvalues - same.eigenvalues).max() > 1e-3


def test_variable_bandwidth_reaches_tails_that_a_fixed_one_loses():
    """Quantiles of Student's t with 3 degrees: the walk keeps the measure of the samples out to the last of them.

    The measure is that of the points, 1/n each, for α = 1/2; a fixed kernel narrow enough for the middle falls apart.
    """
    points = student_t(3).ppf((np.arange(1000) + 0.5) / 1000)[:, None]
    with pytest.raises(InputError, match="pieces"):
        fit_diffusion_map(points, None, DiffusionMapSettings(components=1, bandwidth=1e-3))
    variable = fit_diffusion_map(points, None, DiffusionMapSettings(components=1, variable=True, bandwidth=0.02))
    assert np.all(variable.stationary > 0)
    assert np.abs(1000 * variable.stationary - 1).max() < 0.1


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_variable_bandwidth_has_the_same_limit_for_every_alpha(alpha):
    """Warped samples, weighted to a Gaussian of variance 2.25: Ornstein-Uhlenbeck, and with α = 1 the interval."""
    points = np.random.default_rng(1).permutation(np.linspace(-4, 4, 1201))[:, None]
    points = points + 0.05 * points**3  # neither uniform nor of the density wanted
    weight = np.exp(-0.5 * (points[:, 0] / 1.5) ** 2) * _slope_of_warp(points[:, 0])
    found = fit_diffusion_map(points, weight, DiffusionMapSettings(components=2, alpha=alpha, variable=True))
    length = np.ptp(points)
    modes = np.arange(1, 3)
    expected = (modes * np.pi / length) ** 2 if alpha == 1 else 2 * (1 - alpha) / 2.25 * modes
    np.testing.assert_allclose(found.rates, expected, rtol=0.06)


def _slope_of_warp(warped: np.ndarray) -> np.ndarray:
    """dy/dx of y = x + x³/20 at y: one over the density of the samples."""
    grid = np.linspace(-4, 4, 20_001)
    return 1 + 0.15 * np.interp(warped, grid + 0.05 * grid**3, grid) ** 2


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"alpha": 1.5}, "alpha"), ({"bandwidth": -1.0}, "bandwidth"), ({"components": 0}, "components"),
     ({"neighbours": 1}, "neighbours"), ({"landmarks": 5}, "landmarks")],
)  # fmt: skip
def test_settings_are_checked(settings, name):
    with pytest.raises(InputError, match=name):
        DiffusionMapSettings(**settings)


def test_points_and_weights_are_checked():
    points = strip(30)
    with pytest.raises(InputError, match=r"finite; got 1 of 30"):
        fit_diffusion_map(np.where(np.arange(30)[:, None] == 3, np.nan, points))
    with pytest.raises(InputError, match="all equal"):
        fit_diffusion_map(np.ones((30, 2)))
    with pytest.raises(InputError, match="components"):
        fit_diffusion_map(points[:8])
    with pytest.raises(InputError, match="neighbours"):
        fit_diffusion_map(points, None, DiffusionMapSettings(dense=0))
    with pytest.raises(InputError, match="not negative"):
        fit_diffusion_map(points, -np.ones(30))
    with pytest.raises(InputError, match="at least 12"):
        fit_diffusion_map(points, (np.arange(30) < 5).astype(float))


def test_memory_grows_with_the_square_until_it_is_sparse():
    settings = DiffusionMapSettings()
    assert memory_bytes(2000, 3, settings) > 3.5 * memory_bytes(1000, 3, settings)
    assert memory_bytes(40_000, 3, settings) < 2.1 * memory_bytes(20_000, 3, settings)
    assert memory_bytes(10**6, 3, settings) < 2e9
