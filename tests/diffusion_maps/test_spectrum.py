import numpy as np
import pytest

from micromacro.diffusion_maps.diffusion_map import DiffusionMapSettings, fit_diffusion_map
from micromacro.diffusion_maps.spectrum import find_gap, half_of_clusters, matched, spectrum_errors
from micromacro.errors import InputError


def interval(rng):
    return rng.random((160, 1)), None


def weighted_gaussian(rng):
    points = rng.uniform(-4, 4, (200, 1))
    return points, np.exp(-(points[:, 0] ** 2) / 2)


@pytest.mark.parametrize(("draw", "bandwidth"), [(interval, 0.003), (weighted_gaussian, 0.1)])
def test_errors_cover_the_spread_of_independent_data(draw, bandwidth):
    settings = DiffusionMapSettings(2, 0.5, bandwidth)
    found = [
        spectrum_errors(*draw(np.random.default_rng(seed)), settings, resamples=8, seed=seed) for seed in range(18)
    ]
    for name in ("rates", "eigenvalues", "dimension", "local_dimension"):
        values = np.array([getattr(each, name) for each in found])
        reported = np.sqrt(np.mean(np.square([getattr(each, name + "_stderr") for each in found]), axis=0))
        ratio = reported / values.std(axis=0, ddof=1)
        assert np.all((ratio > 0.6) & (ratio < 1.75)), (name, ratio)  # spread of 18 known to 17 %


def test_correlated_points_need_their_clusters():
    rng = np.random.default_rng(0)
    settings = DiffusionMapSettings(2, 0.5, 0.01)
    rates, single, whole = [], [], []
    for _ in range(10):
        clusters = np.repeat(np.arange(40), 6)
        points = np.clip(rng.random(40)[clusters] + 0.01 * rng.standard_normal(240), 0, 1)[:, None]
        single.append(spectrum_errors(points, None, settings, resamples=8).rates_stderr[0])
        whole.append(spectrum_errors(points, None, settings, clusters=clusters, resamples=8).rates_stderr[0])
        rates.append(fit_diffusion_map(points, None, settings).rates[0])
    spread = np.std(rates, ddof=1)
    assert np.sqrt(np.mean(np.square(whole))) > 0.6 * spread
    assert np.sqrt(np.mean(np.square(single))) < 0.6 * spread


def test_strip_has_one_slow_coordinate_and_two_dimensions():
    points = np.random.default_rng(1).random((600, 2)) * [3.3, 1]
    found = spectrum_errors(points, None, DiffusionMapSettings(6, 0.5, 0.012), resamples=8)
    np.testing.assert_array_equal(found.independent[0], 0)
    assert len(found.independent) == 2
    assert found.slow == 1
    assert not found.gap_is_bound
    assert abs(found.gap - 3.3**2) < 3 * found.gap_stderr
    assert found.dimension == pytest.approx(2, abs=0.3)
    assert found.local_dimension == pytest.approx(2, abs=0.3)


def test_interval_bounds_its_gap():
    points = np.random.default_rng(2).random((300, 1))
    found = spectrum_errors(points, None, DiffusionMapSettings(4, 0.5, 0.003), resamples=4)
    assert found.gap_is_bound
    assert found.slow == 1
    assert found.gap == pytest.approx(found.rates[-1] / found.rates[0])


def test_gap_is_the_largest_ratio_of_independent_rates():
    rates = np.array([1.0, 1.5, 4.0, 20.0, 22.0])
    gap = find_gap(rates, np.array([0, 1, 3]))
    assert (gap.slow, gap.below, gap.above, gap.is_bound) == (2, 1, 3, False)
    assert find_gap(rates, np.array([0, 1])).is_bound
    assert find_gap(rates, np.array([0, 1, 4])).above == 4
    with pytest.raises(InputError, match="components"):
        find_gap(rates[:1], np.array([0]))


def test_crossed_eigenvectors_are_matched():
    points = np.random.default_rng(3).random((200, 2)) * [1.2, 1]
    found = fit_diffusion_map(points, None, DiffusionMapSettings(4, 0.5, 0.02))
    crossed = found.eigenvectors[:, [1, 0, 3, 2]] * [1, -1, 1, -1]
    np.testing.assert_array_equal(matched(crossed, found), [1, 0, 3, 2])


def test_halves_hold_whole_clusters():
    clusters = np.array([0, 0, 1, 2, 2, 3, 4])
    rng = np.random.default_rng(4)
    sizes = set()
    for _ in range(20):
        kept = half_of_clusters(clusters, rng)
        labels = set(clusters[kept])
        np.testing.assert_array_equal(kept, np.flatnonzero(np.isin(clusters, list(labels))))
        sizes.add(len(labels))
    assert sizes == {2, 3}


def test_too_few_clusters_or_resamples_are_told():
    points = np.random.default_rng(5).random((60, 1))
    with pytest.raises(InputError, match="clusters"):
        spectrum_errors(points, clusters=np.repeat(np.arange(3), 20))
    with pytest.raises(InputError, match="resamples"):
        spectrum_errors(points, resamples=1)
