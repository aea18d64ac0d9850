"""The map in the metric of the noise: rates in closed form, undone maps, strays and errors."""

import numpy as np
import pytest
from scipy.stats import norm

from micromacro.diffusion_maps.mahalanobis import MahalanobisSettings, fit_mahalanobis_map
from micromacro.diffusion_maps.spread import joining_bandwidth, spread_landmarks, tying_bandwidth
from micromacro.errors import InputError


def test_ornstein_uhlenbeck_whatever_its_noise():
    """Stationary variance σ²/2θ in the metric 1/σ² is 1/2θ: the slowest rate is 2θ for α = 1/2."""
    sigma, theta = 0.3, 0.7
    x = norm.ppf((np.arange(2000)[:, None] + 0.5) / 2000) * sigma / np.sqrt(2 * theta)
    metric = np.full((2000, 1, 1), sigma**-2)
    found = fit_mahalanobis_map(x, metric, settings=MahalanobisSettings(components=2, bandwidth=0.02, landmarks=400))
    assert found.rates[0] == pytest.approx(2 * theta, rel=0.1)
    assert abs(np.corrcoef(found.eigenvectors[:, 0], x[:, 0])[0, 1]) > 0.99


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_weights_restore_the_measure(alpha):
    """Points of density 1 + x on [0, 1], weighted to the uniform one: cos πx of rate π², for every α."""
    rng = np.random.default_rng(1)
    x = np.sqrt(1 + 3 * rng.random((3000, 1))) - 1
    metric, settings = np.ones((3000, 1, 1)), MahalanobisSettings(components=1, alpha=alpha, bandwidth=4e-4)
    weighted = fit_mahalanobis_map(x, metric, 1 / (1 + x[:, 0]), settings)
    assert weighted.rates[0] == pytest.approx(np.pi**2, rel=0.06)
    expected = np.sqrt(2) * np.cos(np.pi * x[:, 0])
    mode = weighted.eigenvectors[:, 0] * np.sign(weighted.eigenvectors[:, 0] @ expected)
    assert np.sqrt(np.mean((mode - expected) ** 2)) < 0.06
    assert np.sum(weighted.stationary) == pytest.approx(1)
    assert weighted.stationary @ weighted.eigenvectors[:, 0] ** 2 == pytest.approx(1, abs=1e-9)


def test_points_of_no_weight_get_coordinates():
    x = np.linspace(0, 1, 400)[:, None]
    weight = np.where(np.arange(400) % 2, 1.0, 0.0)
    found = fit_mahalanobis_map(x, np.ones((400, 1, 1)), weight, MahalanobisSettings(components=1, bandwidth=1e-3))
    steps = np.diff(found.eigenvectors[:, 0])
    assert np.all(steps > 0) or np.all(steps < 0)
    assert np.all(found.stationary[weight == 0] == 0)


def test_landmarks_cover_and_their_distances_are_in_their_own_metric():
    rng = np.random.default_rng(2)
    points, metric = rng.random((300, 2)), np.eye(2) * rng.uniform(1, 2, (300, 1, 1))
    chosen, squares = spread_landmarks(points, metric, 40)
    delta = points[:, None] - points[chosen]
    np.testing.assert_allclose(squares, np.einsum("nmi,mij,nmj->nm", delta, metric[chosen], delta), atol=1e-12)
    random = rng.choice(300, 40, replace=False)
    reach = np.max(np.min(np.sum((points[:, None] - points[random]) ** 2, axis=2), axis=1))
    assert squares.min(axis=1).max() < reach
    assert len(spread_landmarks(np.repeat(points[:5], 3, axis=0), metric[:15], 15)[0]) == 5


def test_stray_is_tied_and_half_the_points_are_not():
    line = np.arange(200.0)
    stray, halves = np.append(line, 250.0), np.append(line, line + 500)
    for points, expected in ((line, 1 / 20), (stray, 51**2 / 20), (halves, 1 / 20)):
        squares = (points[:, None] - points) ** 2
        assert joining_bandwidth(squares) == pytest.approx(expected)
    gap = halves[len(line)] - line[-1]
    assert tying_bandwidth((halves[:, None] - halves) ** 2) == pytest.approx(gap**2 / 20)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight": -np.ones(50)}, "weight"),
        ({"settings": MahalanobisSettings(alpha=2.0)}, "alpha"),
        ({"settings": MahalanobisSettings(bandwidth=0.0)}, "bandwidth"),
        ({"settings": MahalanobisSettings(landmarks=5)}, "landmarks"),
        ({"points": np.full((50, 1), np.nan)}, "finite"),
    ],
)
def test_what_has_no_map_is_refused(change, words):
    given = {"points": np.linspace(0, 1, 50)[:, None], "metric": np.ones((50, 1, 1)), **change}
    with pytest.raises(InputError, match=words):
        fit_mahalanobis_map(**given)
