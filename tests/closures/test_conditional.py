"""Conditional averages: unbiased, with honest standard errors, and silent where there is nothing."""

import time

import numpy as np
import pytest

from micromacro.closures.conditional import LocalRequirements, conditional_averages
from micromacro.closures.grid import uniform_grid
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError

LINE = CoarseVariable(lambda q: q[:1], np.array([-1.0]), np.array([2.0]), (False,))
CIRCLE = CoarseVariable(lambda q: q[:1], np.array([-np.pi]), np.array([np.pi]), (True,))
TORUS_LINE = CoarseVariable(lambda q: q[:2], np.array([-np.pi, 0.0]), np.array([np.pi, 1.0]), (True, False))


def walkers(rng, count, frames, noise, shared):
    """Noise `(count * frames,)` with a part that each walker keeps, and the walkers' numbers."""
    cluster = np.repeat(np.arange(count), frames)
    return noise * rng.standard_normal(count * frames) + shared * rng.standard_normal(count)[cluster], cluster


def test_standard_errors_of_correlated_walkers():
    """Over 40 repetitions, each of 40 walkers that share a random offset, the mean squared z-score is one."""
    grid = uniform_grid(LINE, (30,))
    scores = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noise, cluster = walkers(rng, 40, 200, 0.5, 0.3)
        z = rng.uniform(-1, 2, (8000, 1))
        truth = np.sin(2 * grid.points[:, 0])
        found = conditional_averages(LINE, grid, z, (np.sin(2 * z[:, 0]) + noise)[:, None], np.ones(8000), cluster)
        scores.append((found.mean[:, 0] - truth) / found.stderr[:, 0])
    mean_square = np.mean(np.square(scores))
    assert 0.7 < mean_square < 1.4, mean_square


def test_standard_errors_of_walkers_that_stay_in_their_windows():
    """Ten walkers in each of eight windows, each spread over a fifth of the range."""
    grid = uniform_grid(LINE, (30,))
    scores = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noise, cluster = walkers(rng, 80, 200, 0.5, 0.3)
        centre = np.linspace(-1, 2, 8)[cluster % 8]
        z = centre[:, None] + rng.normal(0, 0.25, (16_000, 1))
        density = np.exp(-((z - np.linspace(-1, 2, 8)) ** 2) / (2 * 0.25**2)).sum(1)
        values = (np.cos(z[:, 0]) + noise)[:, None]
        found = conditional_averages(LINE, grid, z, values, 1 / density, cluster)
        scores.append((found.mean[:, 0] - np.cos(grid.points[:, 0])) / found.stderr[:, 0])
    mean_square = np.mean(np.square(scores))
    assert 0.7 < mean_square < 1.4, mean_square


@pytest.mark.parametrize("weighted", [True, False])
def test_no_bias_where_the_sampling_density_is_steep(weighted):
    """Density e^(2z), a function of slope 3: a local mean would be off by many standard errors, at the ends too."""
    rng = np.random.default_rng(3)
    count = 200_000
    z = np.log(rng.uniform(np.exp(-2), np.exp(4), count)) / 2
    values = 3 * z + 0.2 * z**2 + 0.3 * rng.standard_normal(count)
    weights = np.exp(-2 * z) if weighted else np.ones(count)
    grid = uniform_grid(LINE, (20,))
    cluster = np.arange(count) % 100
    found = conditional_averages(LINE, grid, z[:, None], values[:, None], weights, cluster)
    score = (found.mean[:, 0] - 3 * grid.points[:, 0] - 0.2 * grid.points[:, 0] ** 2) / found.stderr[:, 0]
    assert np.abs(score).max() < 4, score
    assert np.mean(score**2) < 2.5, score  # 20 cells that share samples with their neighbours


def test_periodic_seam_is_no_edge():
    rng = np.random.default_rng(4)
    z = rng.uniform(-np.pi, np.pi, (40_000, 1))
    shifted = np.where(z < 0, z + 2 * np.pi, z)  # the same points, elsewhere on the line
    values = np.stack([np.sin(z[:, 0]), np.cos(z[:, 0])], axis=1) + 0.1 * rng.standard_normal((40_000, 2))
    grid, cluster = uniform_grid(CIRCLE, (24,)), np.arange(40_000) % 50
    found = conditional_averages(CIRCLE, grid, z, values, np.ones(40_000), cluster)
    moved = conditional_averages(CIRCLE, grid, shifted, values, np.ones(40_000), cluster)
    np.testing.assert_allclose(found.mean, moved.mean, rtol=1e-9)
    truth = np.stack([np.sin(grid.points[:, 0]), np.cos(grid.points[:, 0])], axis=1)
    bias = grid.spacing[0] ** 2 / 10  # h² g''/10
    assert np.all(np.abs(found.mean - truth) < bias + 4 * found.stderr)


def test_two_dimensions_one_of_them_periodic():
    rng = np.random.default_rng(5)
    z = np.stack([rng.uniform(-np.pi, np.pi, 60_000), rng.uniform(0, 1, 60_000)], axis=1)
    noise, cluster = walkers(rng, 300, 200, 0.2, 0.1)
    values = np.stack([np.sin(z[:, 0]) * z[:, 1] + noise, z[:, 1] + noise], axis=1)
    grid = uniform_grid(TORUS_LINE, (40, 20))
    found = conditional_averages(TORUS_LINE, grid, z, values, np.ones(60_000), cluster)
    truth = np.stack([np.sin(grid.points[:, 0]) * grid.points[:, 1], grid.points[:, 1]], axis=1)
    mean_square = np.mean(((found.mean - truth) / found.stderr) ** 2)
    assert 0.6 < mean_square < 1.6, mean_square


def test_nothing_is_invented_where_there_are_no_samples():
    rng = np.random.default_rng(6)
    z = rng.uniform(0.0, 1.0, (20_000, 1))
    grid = uniform_grid(LINE, (30,))
    found = conditional_averages(LINE, grid, z, z, np.ones(20_000), np.arange(20_000) % 20)
    sampled = (grid.points[:, 0] > 0) & (grid.points[:, 0] < 1)
    assert np.isfinite(found.mean[sampled]).all()
    far = (grid.points[:, 0] < -0.1) | (grid.points[:, 0] > 1.1)
    assert np.isnan(found.mean[far]).all()
    assert np.isnan(found.stderr[far]).all()


def test_one_walker_has_no_standard_error_and_so_no_estimate():
    rng = np.random.default_rng(7)
    z = rng.uniform(-1, 2, (5000, 1))
    found = conditional_averages(LINE, uniform_grid(LINE, (10,)), z, z, np.ones(5000), np.zeros(5000, int))
    assert np.isnan(found.mean).all()


def test_the_kernel_widens_where_samples_are_few():
    rng = np.random.default_rng(8)
    z = rng.uniform(-1, 2, (1500, 1))
    grid, cluster = uniform_grid(LINE, (100,)), np.arange(1500) % 10
    found = conditional_averages(LINE, grid, z, z, np.ones(1500), cluster, LocalRequirements(effective_samples=40.0))
    assert np.nanmin(found.half_width) > 1
    known = np.isfinite(found.mean[:, 0])
    assert known[3:-3].all()  # next to an end the extrapolation takes more samples than there may be
    assert np.min(found.effective_samples[known]) >= 40
    np.testing.assert_allclose(found.mean[known], grid.points[known], atol=1e-9)  # linear functions are exact


def test_values_that_are_not_finite_are_refused():
    z = np.linspace(-1, 2, 100)[:, None]
    values = np.where(z == z[3], np.nan, z)
    with pytest.raises(InputError, match="values must be finite; got 1 that are not"):
        conditional_averages(LINE, uniform_grid(LINE, (10,)), z, values, np.ones(100), np.arange(100))


def test_speed_with_many_samples():
    rng = np.random.default_rng(9)
    z = np.stack([rng.uniform(-np.pi, np.pi, 300_000), rng.uniform(0, 1, 300_000)], axis=1)
    values = rng.standard_normal((300_000, 8))
    cluster = np.repeat(np.arange(6000), 50)
    start = time.perf_counter()
    conditional_averages(TORUS_LINE, uniform_grid(TORUS_LINE, (40, 40)), z, values, np.ones(300_000), cluster)
    assert time.perf_counter() - start < 30
