"""Learners: the exact time scale of a double well, what linear ones cannot see, what must not be seen at all."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.linalg import eigh

from micromacro.errors import InputError
from micromacro.learners.choosing import choose_points
from micromacro.learners.diffusion_map import DiffusionMapLearner
from micromacro.learners.kinds import KINDS, learner
from micromacro.learners.learner import Learned, TimeSeries, TrainingData
from micromacro.learners.linear import TicaLearner, VampLearner, lagged_covariance, time_lagged_components
from micromacro.learners.metrics import rank_correlation
from micromacro.learners.scaling import gradient_squares
from micromacro.learners.vampnet import VampNetLearner

LAG = 0.1
NETWORK = VampNetLearner(lag=LAG, training_steps=400, batch_size=500)
KEY = jax.random.key(0)


def oscillators(rates: np.ndarray, frames: int, walkers: int, rng: np.random.Generator) -> np.ndarray:
    """Ornstein-Uhlenbeck processes of unit variance, a frame each unit of time, `(frames, walkers, rates)`."""
    kept = np.exp(-rates)
    path = [rng.normal(size=(walkers, len(rates)))]
    for _ in range(frames - 1):
        path.append(kept * path[-1] + np.sqrt(1 - kept**2) * rng.normal(size=path[-1].shape))
    return np.stack(path)


@pytest.fixture(scope="module")
def mixed() -> tuple[np.ndarray, TrainingData, np.ndarray]:
    """Two oscillators of rates 0.05 and 0.5, seen through a matrix."""
    rng = np.random.default_rng(0)
    hidden, matrix = oscillators(np.array([0.05, 0.5]), 4000, 10, rng), np.array([[1.0, 30.0], [0.4, -20.0]])
    seen = hidden @ matrix + 5.0
    series = TimeSeries(seen, 1.0)
    points = seen[::40].reshape(-1, 2)
    return hidden[::40].reshape(-1, 2), TrainingData(points, np.ones(len(points)), series=series), matrix


@pytest.fixture(scope="module")
def network(spiral_runs) -> Learned:
    return NETWORK.fit(spiral_runs.data, KEY)


@pytest.mark.parametrize("settings", [TicaLearner(2, 2.0), VampLearner(2, 2.0)])
def test_linear_learners_find_the_rates_and_coordinates_of_oscillators(settings, mixed):
    hidden, data, _ = mixed
    found = settings.fit(data, KEY)
    # an autocorrelation time of 20 in 40,000 frames: 1,000 independent ones, so the rates are known within 5 %
    np.testing.assert_allclose(1 / found.diagnostics.time_scales, [0.05, 0.5], rtol=0.15)
    values = np.asarray(jax.jit(jax.vmap(found))(data.features))
    for known, learned in zip(hidden.T, values.T, strict=True):
        assert abs(np.corrcoef(known, learned)[0, 1]) > 0.99


def test_time_lagged_components_solve_their_eigenvalue_problem(mixed):
    _, data, _ = mixed
    found = time_lagged_components(data.series, 3)
    first, second = (part.reshape(-1, 2) for part in (data.series.features[:-3], data.series.features[3:]))
    both, lagged = np.concatenate([first, second]), np.concatenate([second, first])
    mean = both.mean(axis=0)
    instant, late = (both - mean).T @ (both - mean), (both - mean).T @ (lagged - mean)
    np.testing.assert_allclose(found.eigenvalues, eigh(late, instant, eigvals_only=True)[::-1], rtol=1e-8)
    np.testing.assert_allclose(found.offset, mean, rtol=1e-10)


def test_weights_of_frames_are_honoured_as_repeated_trajectories_are():
    features = np.random.default_rng(1).normal(size=(200, 3, 2))
    weight = np.broadcast_to(np.array([1.0, 2.0, 0.0]), (200, 3))
    repeated = features[:, [0, 1, 1]]
    scale = np.ones(2)
    one = lagged_covariance(TimeSeries(features, 1.0, weight), 4, scale, reversible=True)
    other = lagged_covariance(TimeSeries(repeated, 1.0), 4, scale, reversible=True)
    np.testing.assert_allclose(one.cov_00, other.cov_00, rtol=1e-10)
    np.testing.assert_allclose(one.cov_0t, other.cov_0t, rtol=1e-8, atol=1e-12)


def test_weighted_trajectories_are_refused_by_vamp_with_a_remedy(mixed):
    series = replace(mixed[1].series, weight=np.ones(mixed[1].series.features.shape[:2]))
    with pytest.raises(InputError, match="Learn with kind 'tica'"):
        VampLearner().fit(replace(mixed[1], series=series), KEY)


def test_the_network_finds_the_time_scale_that_linear_components_miss(spiral_runs, network):
    known = spiral_runs.time_scale
    linear = TicaLearner(lag=LAG).fit(spiral_runs.data, KEY).diagnostics
    assert linear.time_scales[0] < 0.3 * known
    # the held-out fifth holds 240 units of time, about 60 relaxation times: known to a seventh
    assert network.diagnostics.time_scales[0] == pytest.approx(known, rel=0.4)
    x = spiral_runs.x[::20].ravel()
    values = np.asarray(jax.jit(jax.vmap(network))(spiral_runs.data.features))[:, 0]
    assert abs(np.corrcoef(np.sign(x), values)[0, 1]) > 0.9


def test_time_that_was_shuffled_has_no_slow_coordinate(spiral_runs):
    rng = np.random.default_rng(3)
    flat = spiral_runs.series.features.reshape(-1, 2)
    series = TimeSeries(rng.permutation(flat).reshape(spiral_runs.series.features.shape), spiral_runs.series.interval)
    data = replace(spiral_runs.data, series=series)
    quick = replace(NETWORK, training_steps=100)
    for settings in (TicaLearner(lag=LAG), VampLearner(lag=LAG), quick):
        # of 60,000 pairs, or 12,000 held out: correlations within four standard errors of zero
        assert abs(settings.fit(data, KEY).diagnostics.eigenvalues[0]) < 4 / np.sqrt(12_000)


def test_the_diffusion_map_orders_a_spiral(spiral_runs):
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-1.5, 1.5, 1200))
    turn = np.stack([(2.5 + x) * np.cos(4 * x), (2.5 + x) * np.sin(4 * x)], axis=1)
    learner = DiffusionMapLearner(points=600, bandwidth=0.05, landmarks=600, surrogate=False)
    found = learner.fit(TrainingData(turn, np.ones(1200)), KEY)
    values = np.asarray(jax.jit(jax.vmap(found))(turn))[:, 0]
    assert abs(rank_correlation(values, x)) > 0.9999
    assert found.diagnostics.time_scales is None
    assert found.diagnostics.points == 600


def test_learned_coordinates_are_even_in_the_metric_of_the_noise(spiral_runs, network):
    values, squares = gradient_squares(network, spiral_runs.data.features, spiral_runs.data.noise)
    order = np.argsort(values[:, 0])
    averages = [squares[rows, 0].mean() for rows in np.array_split(order, 10)]
    # single points on the few between the arms of the spiral, where a network is steep, weigh much in some tenths
    assert np.median(averages) == pytest.approx(1.0, abs=0.1)
    assert max(averages) < 4
    _, before = gradient_squares(network.coordinate.coordinate, spiral_runs.data.features, spiral_runs.data.noise)
    steep = [before[rows, 0].mean() for rows in np.array_split(order, 10)]
    assert max(steep) > 20 * min(steep)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_a_twice_differentiable_coordinate(kind, spiral_runs):
    given = {"points": 200, "bandwidth": 0.2} if kind == "diffusion-map" else {"lag": LAG}
    given |= {"training_steps": 100, "width": 8, "depth": 1} if kind == "vampnet" else {}
    found = learner(kind, given).fit(spiral_runs.data, KEY)
    point, shifts = spiral_runs.data.features[0], 1e-6 * np.eye(2)
    values = jax.jit(jax.vmap(found))
    assert values(point[None]).shape == (1, 1)
    numerical = (values(point + shifts) - values(point - shifts))[:, 0] / 2e-6
    gradient = jax.jit(jax.grad(lambda q: found(q)[0]))
    np.testing.assert_allclose(gradient(point), numerical, rtol=1e-4, atol=1e-7)
    numerical = (gradient(point + shifts[0]) - gradient(point - shifts[0])) / 2e-6
    curvature = jax.jit(jax.hessian(lambda q: found(q)[0]))(point)
    np.testing.assert_allclose(curvature[0], numerical, rtol=1e-3, atol=1e-5)


def test_kinds_refuse_what_they_do_not_have():
    with pytest.raises(InputError, match="diffusion-map, tica, vamp, vampnet"):
        learner("pca", {})
    with pytest.raises(InputError, match="Settings of kind 'tica': components, lag"):
        learner("tica", {"bandwidth": 0.1})
    with pytest.raises(InputError, match="components"):
        learner("diffusion-map", {"components": 11})
    with pytest.raises(InputError, match="width"):
        learner("vampnet", {"width": 0})


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].needs_series])
def test_learners_in_time_need_trajectories_and_a_lag_that_fits(kind, spiral_runs):
    with pytest.raises(InputError, match="series must be given"):
        learner(kind, {}).fit(replace(spiral_runs.data, series=None), KEY)
    with pytest.raises(InputError, match="lag must be"):
        learner(kind, {"lag": 1e3}).fit(spiral_runs.data, KEY)


def test_data_that_do_not_fit_are_refused():
    good = np.ones((4, 2))
    for features, weight in [
        (np.ones(4)[:1, None], np.ones(1)),
        (good * np.nan, np.ones(4)),
        (good, np.ones(3)),
        (good, np.zeros(4)),
        (good, np.array([1.0, -1.0, 1.0, 1.0])),
    ]:
        with pytest.raises(InputError):
            TrainingData(features, weight)
    with pytest.raises(InputError, match=r"series.features must have 2"):
        TrainingData(good, np.ones(4), series=TimeSeries(np.ones((5, 1, 3)), 1.0))
    with pytest.raises(InputError, match="interval"):
        TimeSeries(np.ones((5, 1, 3)), 0.0)


def test_chosen_points_have_the_weights_of_all_but_none_that_are_nothing():
    rng = np.random.default_rng(2)
    weight = np.exp(rng.normal(size=5000))
    weight[:100] = 1e-20
    rows = choose_points(weight, 500, rng)
    assert len(np.unique(rows)) == 500
    assert rows.min() >= 100
    shares = np.quantile(weight[rows], [0.1, 0.5, 0.9]) / np.quantile(weight[100:], [0.1, 0.5, 0.9])
    np.testing.assert_allclose(shares, 1.0, rtol=0.02)  # drawn by chance they would differ by a tenth
    assert np.array_equal(choose_points(weight, 10_000, rng), np.arange(100, 5000))
    with pytest.raises(InputError):
        choose_points(np.array([1.0, 0.0]), 10, rng)
