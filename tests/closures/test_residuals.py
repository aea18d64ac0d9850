"""The residual check: right equations pass, wrong ones are caught; no training here."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm, solve_continuous_lyapunov

from micromacro.closures.residuals import clustered_mean, residual_check
from micromacro.closures.schemes import SCHEMES
from micromacro.closures.snapshots import SnapshotPairs
from micromacro.systems import slow_manifold

SLOPE, DIFFUSION = np.array([[-1.0, 0.6], [-0.4, -2.0]]), np.array([[1.0, 0.5], [0.5, 0.8]])
SCHEME = SCHEMES["statistical-linearisation"]


@pytest.fixture(scope="module")
def plane(exact):
    """Exact stationary pairs of a two-dimensional Ornstein–Uhlenbeck process of full D, lag 0.4."""
    coarse, rng, lag, count = exact.coarse([-4.0] * 2, [4.0] * 2, [False] * 2), np.random.default_rng(0), 0.4, 6000
    spread, decay = solve_continuous_lyapunov(SLOPE, -2 * DIFFUSION), expm(SLOPE * lag)
    start = rng.multivariate_normal(np.zeros(2), spread, count)
    end = start @ decay.T + rng.multivariate_normal(np.zeros(2), spread - decay @ spread @ decay.T, count)
    return SnapshotPairs.between(coarse, start, end, lag)


def slow_pairs(exact, lag, count, seed):
    """Exact stationary pairs of the slow variable of the quadratic slow manifold."""
    coarse, rng = exact.coarse([-0.75], [0.75], [False]), np.random.default_rng(seed)
    variance = slow_manifold.stationary_covariance()[3, 3]
    memory = slow_manifold.correlation(np.array([lag]))[0, 3, 3] / variance
    start = np.sqrt(variance) * rng.standard_normal((count, 1))
    end = memory * start + np.sqrt(variance * (1 - memory**2)) * rng.standard_normal((count, 1))
    return SnapshotPairs.between(coarse, start, end, lag)


def check_of(pairs, slope=SLOPE, diffusion=DIFFUSION, scheme=SCHEME):
    return residual_check(scheme, lambda z: jnp.asarray(slope) @ z, lambda _: jnp.asarray(diffusion), pairs)


def test_the_right_equation_passes(plane):
    check = check_of(plane)
    assert check.passed, check.reason
    scores = np.concatenate(
        [
            (check.mean / check.mean_stderr).ravel(),
            ((check.second_moment - np.eye(2)) / check.second_moment_stderr).ravel(),
        ]
    )
    assert np.mean(scores**2) == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize(
    ("slope", "diffusion"),
    [
        (SLOPE, 2 * DIFFUSION),
        (SLOPE, DIFFUSION * (2 * np.eye(2) - 1)),
        (SLOPE, DIFFUSION * np.array([[1.4, 1.0], [1.0, 0.7]])),
        (1.5 * SLOPE, DIFFUSION),
        (SLOPE.T, DIFFUSION),
    ],
    ids=["twice D", "sign of the off-diagonal D", "shape of D", "steeper b", "b turned the other way"],
)
def test_wrong_equations_are_caught(plane, slope, diffusion):
    assert not check_of(plane, slope, diffusion).passed


def test_euler_maruyama_at_a_long_lag_is_caught(plane):
    assert not check_of(plane, scheme=SCHEMES["euler-maruyama"]).passed


def test_diffusion_that_is_wrong_in_one_place_only_is_caught(exact):
    pairs = slow_pairs(exact, 0.4, 8000, seed=1)
    rate, diffusion = slow_manifold.closure_at_lag(0.4)

    def right(_):
        return jnp.full((1, 1), diffusion)

    def tilted(z):
        return jnp.full((1, 1), diffusion) * jnp.exp(z[0])

    assert residual_check(SCHEME, lambda z: -rate * z, right, pairs).passed
    assert not residual_check(SCHEME, lambda z: -rate * z, tilted, pairs).passed


def test_lag_within_the_fast_time_is_caught_by_pairs_of_a_longer_one(exact):
    """What fits at half the fast time has 5 % too much memory at ten times that; beyond the fast time lags agree."""
    for lag, longer, passes in [(0.02, 0.4, False), (0.4, 0.8, True)]:
        rate, diffusion = slow_manifold.closure_at_lag(lag)
        pairs = slow_pairs(exact, longer, 100_000, seed=2)
        check = residual_check(SCHEME, lambda z, k=rate: -k * z, lambda _, D=diffusion: jnp.full((1, 1), D), pairs)
        assert check.passed is passes, check.reason


def test_closure_at_lag_goes_from_the_projected_one_to_the_homogenised_one():
    reference = slow_manifold.quadratic_slow_manifold()
    z = np.ones((1, 1))
    rate, diffusion = slow_manifold.closure_at_lag(1e-5)
    assert rate == pytest.approx(-reference.exact.drift(z)[0, 0], rel=1e-3)
    assert diffusion == pytest.approx(reference.exact.diffusion(z)[0, 0, 0], rel=1e-3)
    rate, diffusion = slow_manifold.closure_at_lag(0.4)
    assert rate == pytest.approx(1, abs=0.02)
    assert diffusion == pytest.approx(1.1134 * slow_manifold.TEMPERATURE, rel=0.02)


def test_error_of_a_mean_counts_clusters_not_samples():
    rng = np.random.default_rng(3)
    values, cluster = np.repeat(rng.normal(size=200), 50)[:, None], np.repeat(np.arange(200), 50)
    mean, stderr = clustered_mean(values, np.ones(len(values)), cluster)
    assert stderr[0] == pytest.approx(1 / np.sqrt(200), rel=0.2)
    assert abs(mean[0]) < 3.5 * stderr[0]
