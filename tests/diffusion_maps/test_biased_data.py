"""Diffusion maps of umbrella samples with their weights, against unbiased data and the true generator."""

import numpy as np
import pytest

from micromacro.diffusion_maps.diffusion_map import DiffusionMapSettings, fit_diffusion_map
from micromacro.diffusion_maps.spectrum import matched, spectrum_errors
from micromacro.systems.hidden_barrier import hidden_barrier_potential
from micromacro.systems.muller_brown import muller_brown_potential
from tests.diffusion_maps.planes import at, draw, generator_modes, plane, umbrella

HIDDEN_WINDOWS = np.stack(np.meshgrid(np.linspace(-1.4, 1.4, 5), np.linspace(-1.3, 1.3, 7)), axis=-1).reshape(-1, 2)
BROWN_WINDOWS = np.linspace(-1.2, 1.0, 10)[:, None]


@pytest.fixture(scope="module")
def hidden():
    """The hidden barrier at kT = 4, where unbiased data cross it."""
    return plane(hidden_barrier_potential, 4.0, (-2.4, -2.2), (2.4, 2.2), (96, 110))


@pytest.fixture(scope="module")
def brown():
    """Müller and Brown's surface at kT = 30."""
    return plane(muller_brown_potential, 30.0, (-2.2, -1.2), (1.7, 2.7), (160, 160))


def hidden_samples(hidden, seed):
    rng = np.random.default_rng(seed)
    return draw(hidden, 875, rng)[0], umbrella(hidden, HIDDEN_WINDOWS, 8.0, 25, rng, [0, 1])


def brown_samples(brown, seed):
    rng = np.random.default_rng(seed)
    return draw(brown, 900, rng)[0], umbrella(brown, BROWN_WINDOWS, 20.0, 90, rng, [0])


def correlation(first, second, weight):
    first, second = first - np.average(first, weights=weight), second - np.average(second, weights=weight)
    return abs((weight * first) @ second) / np.sqrt((weight @ first**2) * (weight @ second**2))


def test_true_generator_of_a_gaussian_has_whole_rates():
    gaussian = plane(lambda state: state @ state / 2, 1.0, (-6, -5), (6, 5), (120, 60))
    rates, modes = generator_modes(gaussian, 3)
    np.testing.assert_allclose(rates, [1, 1, 2], rtol=0.01)
    assert np.isfinite(at(gaussian, modes, np.zeros((1, 2)))).all()


def test_weighted_umbrella_samples_have_the_moments_of_the_density(hidden):
    exact = np.average(hidden.centres, axis=0, weights=np.exp(hidden.log_density))
    means = []
    for seed in range(10):
        _, (points, weight) = hidden_samples(hidden, seed)
        means.append(np.average(points, axis=0, weights=weight))
    assert np.all(np.abs(np.mean(means, axis=0) - exact) < 4 * np.std(means, axis=0, ddof=1) / np.sqrt(10))


def test_reweighted_map_of_the_hidden_barrier_is_that_of_unbiased_data_within_errors(hidden):
    unbiased, (points, weight) = hidden_samples(hidden, 0)
    settings = DiffusionMapSettings(2, 0.5, 0.025)
    plain = spectrum_errors(unbiased, None, settings, resamples=8)
    reweighted = spectrum_errors(points, weight, settings, resamples=8)
    unweighted = spectrum_errors(points, None, settings, resamples=8)
    both = np.hypot(plain.rates_stderr, reweighted.rates_stderr)
    assert np.all(np.abs(plain.rates - reweighted.rates) < 2.5 * both)
    for other in (plain, reweighted):
        apart = np.hypot(other.rates_stderr[0], unweighted.rates_stderr[0])
        assert unweighted.rates[0] - other.rates[0] > 3 * apart


def test_reweighted_map_of_the_hidden_barrier_is_that_of_the_generator(hidden):
    _, (points, weight) = hidden_samples(hidden, 1)
    rates, modes = generator_modes(hidden, 1)
    settings = DiffusionMapSettings(1, 0.5, 0.025)
    found = fit_diffusion_map(points, weight, settings)
    unweighted = fit_diffusion_map(points, None, settings)
    exact = at(hidden, modes, points)[:, 0]
    assert correlation(found.eigenvectors[:, 0], exact, weight) > 0.995
    assert found.rates[0] == pytest.approx(rates[0], rel=0.25)
    assert unweighted.rates[0] > 1.4 * rates[0]


def nearest_mode(found, exact):
    """Rate and eigenvector of the mode that overlaps the exact one best, whatever single points do far out."""
    index = matched(np.nan_to_num(exact)[:, None], found)[0]
    return found.rates[index], found.eigenvectors[:, index]


@pytest.mark.slow
def test_reweighted_maps_of_many_data_sets_are_that_of_unbiased_data(brown):
    rates, modes = generator_modes(brown, 1)
    settings = DiffusionMapSettings(4, 0.5, 0.03)
    slowest = []
    for seed in range(12):
        unbiased, (points, weight) = brown_samples(brown, seed)
        exact = at(brown, modes, points)[:, 0]
        plain, _ = nearest_mode(fit_diffusion_map(unbiased, None, settings), at(brown, modes, unbiased)[:, 0])
        found, vector = nearest_mode(fit_diffusion_map(points, weight, settings), exact)
        unweighted, _ = nearest_mode(fit_diffusion_map(points, None, settings), exact)
        slowest.append([plain, found, unweighted])
        inside = np.isfinite(exact)
        assert correlation(vector[inside], exact[inside], weight[inside]) > 0.99
    mean, stderr = np.mean(slowest, axis=0), np.std(slowest, axis=0, ddof=1) / np.sqrt(len(slowest))
    assert abs(mean[0] - mean[1]) < 3 * np.hypot(stderr[0], stderr[1])
    assert mean[0] - mean[2] > 5 * np.hypot(stderr[0], stderr[2])
    assert mean[1] - mean[2] > 5 * np.hypot(stderr[1], stderr[2])
    assert mean[1] == pytest.approx(rates[0], rel=0.25)
