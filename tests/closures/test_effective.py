"""Learned reduced equations against processes whose transitions are known exactly."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm, solve_continuous_lyapunov

from micromacro.closures.effective import EffectiveSettings, fit_effective_dynamics
from micromacro.closures.grid import uniform_grid
from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.schemes import SCHEMES
from micromacro.closures.snapshots import SnapshotPairs
from micromacro.closures.transition import GaussianScheme
from micromacro.errors import InputError, PhysicsError
from micromacro.sampling.euler_maruyama import simulate

SHORT = EffectiveSettings(members=4, training_steps=500)


def line_pairs(exact, count=40_000, lag=0.3, seed=0):
    """Exact pairs of dz = -z dt + √2 dW, starts uniform on [-2, 2]."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(-2, 2, (count, 1))
    end = np.exp(-lag) * start + np.sqrt(1 - np.exp(-2 * lag)) * rng.standard_normal((count, 1))
    return SnapshotPairs.between(exact.coarse([-2.0], [2.0], [False]), start, end, lag)


def geometric_pairs(exact, lag=0.1, count=16_000):
    """Exact pairs of dz = z dW, starts uniform on [0.5, 2]."""
    rng = np.random.default_rng(1)
    start = rng.uniform(0.5, 2, (count, 1))
    end = start * np.exp(np.sqrt(lag) * rng.standard_normal((count, 1)) - lag / 2)
    return SnapshotPairs.between(exact.coarse([0.5], [2.0], [False]), start, end, lag)


@pytest.fixture(scope="module")
def line(exact):
    coarse = exact.coarse([-2.0], [2.0], [False])
    return fit_effective_dynamics(coarse, line_pairs(exact), SHORT, jax.random.key(0))


@pytest.fixture(scope="module")
def geometric(exact):
    """The fit by one scheme, once."""
    coarse, pairs = exact.coarse([0.5], [2.0], [False]), geometric_pairs(exact)

    @cache
    def fit(scheme):
        settings = EffectiveSettings(scheme=scheme, members=4, training_steps=500)
        return fit_effective_dynamics(coarse, pairs, settings, jax.random.key(1))

    return fit


def mean_square(score):
    return float(np.nanmean(np.square(score)))


def test_linear_process_at_a_third_of_its_relaxation_time(line):
    table = line.table(uniform_grid(line.coarse, (40,)))
    assert table.finite.all()
    assert np.abs(table.drift + table.z).max() < 0.08 * 4
    assert np.abs(table.diffusion[:, 0, 0] - 1).max() < 0.12
    assert 0.1 < mean_square((table.drift + table.z) / table.drift_stderr) < 2.5
    assert 0.1 < mean_square((table.diffusion[:, 0, 0] - 1) / table.diffusion_stderr[:, 0, 0]) < 2.5
    assert line.residual_check.passed, line.residual_check.reason
    assert line.force_evaluations == 0


def test_held_out_likelihood_is_nearly_that_of_the_truth(line, exact):
    """The truth's is the negative entropy of a normal law; what a fit loses is a few parameters a pair."""
    value, stderr = line.log_likelihood_held_out
    truth = -0.5 * np.log(2 * np.pi * np.e * (1 - np.exp(-0.6)))
    assert value == pytest.approx(truth, abs=3.5 * stderr)
    fresh = line.log_likelihood(line_pairs(exact, seed=5))
    assert fresh.mean() == pytest.approx(truth, abs=3.5 * stderr)
    assert line.held_out.mean() == pytest.approx(0.15, abs=0.02)


def test_functions_are_smooth_and_agree_with_the_table(line):
    drift_slope, diffusion_slope = jax.jit(jax.jacfwd(lambda z: (line.drift(z), line.diffusion(z))))(jnp.array([0.3]))
    assert float(drift_slope[0, 0]) == pytest.approx(-1, abs=0.4)
    assert abs(diffusion_slope[0, 0, 0]) < 0.3
    table = line.table(uniform_grid(line.coarse, (3,)))
    np.testing.assert_allclose(table.drift[1], line.drift(jnp.asarray(table.z[1])), rtol=1e-9)
    np.testing.assert_allclose(table.diffusion[1], line.diffusion(jnp.asarray(table.z[1])), rtol=1e-9)


def test_cells_without_pairs_are_empty_and_the_rest_can_be_simulated(line, exact):
    wide = exact.coarse([-4.0], [4.0], [False])
    table = line.table(uniform_grid(wide, (80,)))
    sampled = np.abs(table.z[:, 0]) < 1.9
    assert table.finite[sampled].all()
    assert not table.finite[np.abs(table.z[:, 0]) > 2.3].any()
    assert np.isnan(table.drift_stderr[0])
    dynamics = ReducedDynamics.from_table(table, wide)
    assert dynamics.walls[1] < 2.4


def test_milstein_sees_the_skewness_that_euler_maruyama_cannot(geometric):
    """dz = z dW at lag 0.1: D = z²/2, which the variance over twice the lag exceeds by e^0.1 - 1 over 0.1, 5 %."""
    euler, milstein = geometric("euler-maruyama"), geometric("milstein")
    assert milstein.log_likelihood_held_out[0] > euler.log_likelihood_held_out[0] + 0.05
    assert milstein.residual_check.distance < 0.75 * euler.residual_check.distance
    z = jnp.linspace(0.7, 1.8, 12)[:, None]
    diffusion = np.asarray(jax.vmap(milstein.diffusion)(z))[:, 0, 0]
    assert np.abs(diffusion / (0.5 * np.asarray(z)[:, 0] ** 2) - 1).max() < 0.1


def test_standard_error_tells_the_bias_of_the_scheme(geometric):
    """The variance of Euler–Maruyama is 5 % off everywhere: the table says so."""
    fit = geometric("euler-maruyama")
    table = fit.table(uniform_grid(fit.coarse, (30,)))
    inner = slice(4, 26)
    truth = 0.5 * table.z[inner, 0] ** 2
    assert mean_square((table.diffusion[inner, 0, 0] - truth) / table.diffusion_stderr[inner, 0, 0]) < 2.5
    assert np.median(table.diffusion_stderr[inner, 0, 0] / truth) > 0.03


def test_angle_with_a_drift_round_the_circle(exact):
    """dθ = 1 dt + √2 σ dW with constant D = 0.3, exact; the fit repeats after a turn."""
    coarse, rng, lag = exact.coarse([-np.pi], [np.pi], [True]), np.random.default_rng(2), 0.5
    start = rng.uniform(-np.pi, np.pi, (6000, 1))
    end = coarse.wrap(start + lag + np.sqrt(2 * 0.3 * lag) * rng.standard_normal(start.shape))
    pairs = SnapshotPairs.between(coarse, start, np.asarray(end), lag)
    fit = fit_effective_dynamics(coarse, pairs, SHORT, jax.random.key(2))
    table = fit.table(uniform_grid(coarse, (24,)))
    assert table.finite.all()
    assert mean_square((table.drift - 1) / table.drift_stderr) < 2.5
    assert mean_square((table.diffusion - 0.3) / table.diffusion_stderr) < 2.5
    np.testing.assert_allclose(fit.drift(jnp.array([3.0])), fit.drift(jnp.array([3.0 - 2 * np.pi])), rtol=1e-6)


def test_full_diffusion_in_the_plane(exact):
    """Euler–Maruyama at a lag where it is nearly exact; D = [[1, 0.5], [0.5, 0.8]], b = 0."""
    coarse, rng, lag = exact.coarse([-1.0] * 2, [1.0] * 2, [False] * 2), np.random.default_rng(3), 0.01
    diffusion = np.array([[1.0, 0.5], [0.5, 0.8]])
    start = rng.uniform(-1, 1, (8000, 2))
    end = start + rng.multivariate_normal(np.zeros(2), 2 * lag * diffusion, len(start))
    settings = EffectiveSettings("euler-maruyama", members=4, training_steps=250)
    fit = fit_effective_dynamics(coarse, SnapshotPairs.between(coarse, start, end, lag), settings, jax.random.key(3))
    table = fit.table(uniform_grid(coarse, (8, 8)))
    np.testing.assert_allclose(table.diffusion, np.swapaxes(table.diffusion, 1, 2), rtol=1e-9)
    assert (np.linalg.eigvalsh(table.diffusion) > 0).all()
    assert np.abs(table.diffusion.mean(axis=0) - diffusion).max() < 0.05
    assert mean_square((table.diffusion - diffusion) / table.diffusion_stderr) < 2.5
    assert fit.residual_check.passed, fit.residual_check.reason


@pytest.mark.slow
def test_rotating_process_of_full_diffusion_at_a_lag_of_its_relaxation_time(exact):
    """An irreversible Ornstein–Uhlenbeck process in the plane, exact pairs of its stationary law."""
    coarse, rng, lag = exact.coarse([-2, -1.5], [2, 1.5], [False] * 2), np.random.default_rng(4), 0.3
    slope, diffusion = np.array([[-1.0, 0.6], [-0.4, -2.0]]), np.array([[1.0, 0.5], [0.5, 0.8]])
    spread, decay = solve_continuous_lyapunov(slope, -2 * diffusion), expm(slope * lag)
    start = rng.multivariate_normal(np.zeros(2), spread, 40_000)
    end = start @ decay.T + rng.multivariate_normal(np.zeros(2), spread - decay @ spread @ decay.T, len(start))
    pairs = SnapshotPairs.between(coarse, start, end, lag)
    fit = fit_effective_dynamics(coarse, pairs, EffectiveSettings(), jax.random.key(4))
    table = fit.table(uniform_grid(coarse, (20, 20)))
    known = table.finite
    assert known.mean() > 0.9
    drift, tensor = (table.drift - table.z @ slope.T)[known], (table.diffusion - diffusion)[known]
    assert (np.sqrt(np.mean(drift**2, axis=0)) < 0.05 * np.ptp(table.z @ slope.T, axis=0)).all()
    assert np.sqrt(np.mean(tensor**2)) < 0.12
    assert 0.2 < mean_square(drift / table.drift_stderr[known]) < 2
    assert 0.2 < mean_square(tensor / table.diffusion_stderr[known]) < 2
    assert fit.residual_check.passed, fit.residual_check.reason


@pytest.mark.slow
def test_double_well_with_multiplicative_noise(exact):
    """F = 3 (z² - 1)², D = 1 + z²/4, pairs by fine steps; at this lag slope times lag is about one at the walls."""
    coarse, rng, lag = exact.coarse([-1.5], [1.5], [False]), np.random.default_rng(5), 0.01
    start = rng.uniform(-1.5, 1.5, (100_000, 1))

    def drift(z):
        return -12 * z * (z**2 - 1) * (1 + z**2 / 4) + z / 2

    end = simulate(drift, lambda z: jnp.sqrt(2 + z**2 / 2), start, lag / 40, 40, jax.random.key(5)).final
    pairs = SnapshotPairs.between(coarse, start, np.asarray(end, float), lag)
    fit = fit_effective_dynamics(coarse, pairs, EffectiveSettings(), jax.random.key(6))
    table = fit.table(uniform_grid(coarse, (100,)))
    b, D = table.drift - drift(table.z), table.diffusion[:, 0, 0] - 1 - table.z[:, 0] ** 2 / 4
    assert np.sqrt(np.mean(b**2)) < 0.02 * np.ptp(drift(table.z))
    assert np.sqrt(np.mean(D**2)) < 0.05
    assert 0.2 < mean_square(b / table.drift_stderr) < 3
    assert 0.2 < mean_square(D / table.diffusion_stderr[:, 0, 0]) < 3
    assert fit.residual_check.passed, fit.residual_check.reason


def test_same_key_same_equation(exact):
    coarse, pairs = exact.coarse([-2.0], [2.0], [False]), line_pairs(exact, 500)
    settings = EffectiveSettings(members=4, training_steps=250)
    done = []
    fits = [fit_effective_dynamics(coarse, pairs, settings, jax.random.key(seed), done.append) for seed in (1, 1, 2)]
    first, second, other = (fit.drift(jnp.array([0.5])) for fit in fits)
    assert first == second
    assert first != other
    assert sum(done) == 3 * settings.all_steps(1)


@pytest.mark.parametrize(("name", "value"), [("scheme", "runge-kutta"), ("members", 1), ("held_out", 1.5)])
def test_settings_that_make_no_sense_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        EffectiveSettings(**{name: value})


def test_too_few_walkers_are_refused(exact):
    pairs = line_pairs(exact, 70)
    few = SnapshotPairs(pairs.start, pairs.displacement, pairs.lag, pairs.weight, np.arange(70) % 7)
    with pytest.raises(InputError, match="at least 8 walkers; got 7"):
        fit_effective_dynamics(exact.coarse([-2.0], [2.0], [False]), few, SHORT, jax.random.key(0))


def test_a_likelihood_that_is_not_finite_is_an_error_with_a_remedy(exact, monkeypatch):
    broken = GaussianScheme(lambda coefficients, start, lag: (start, jnp.full((1, 1), -1.0)), order=1)
    monkeypatch.setitem(SCHEMES, "euler-maruyama", broken)
    settings = EffectiveSettings("euler-maruyama", members=2, training_steps=250)
    with pytest.raises(PhysicsError, match="Shorten the lag"):
        fit_effective_dynamics(
            exact.coarse([-2.0], [2.0], [False]), line_pairs(exact, 500), settings, jax.random.key(0)
        )
