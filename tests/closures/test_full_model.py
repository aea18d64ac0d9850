"""Estimates from long trajectories against what is known of Ornstein–Uhlenbeck processes and of chains."""

import jax
import numpy as np
import pytest

from micromacro.closures import full_model
from micromacro.closures.grid import uniform_grid
from micromacro.closures.long_trajectories import FullTrajectories, simulate_full
from micromacro.closures.passage import observed_transition_times
from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.transitions import counted_transitions
from micromacro.closures.variational import slowest_time_scale
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError, PhysicsError
from micromacro.systems.model import StochasticSystem
from micromacro.systems.slow_manifold import drift_matrix, quadratic_slow_manifold, stationary_covariance

LINE = CoarseVariable(lambda q: q[:1], np.array([-4.0]), np.array([4.0]), (False,))
CIRCLE = CoarseVariable(lambda q: q[:1], np.array([0.0]), np.array([2 * np.pi]), (True,))
FAST, SLOW, INTERVAL = 0.2, 2.0, 0.1


def process(rate, frames, walkers, seed, interval=INTERVAL):
    """An Ornstein–Uhlenbeck process of unit variance at frames of 0.1, exactly, `(frames, walkers)`."""
    rng = np.random.default_rng(seed)
    state, kept = rng.standard_normal(walkers), np.exp(-rate * interval)
    result = np.empty((frames, walkers))
    for frame in range(frames):
        state = kept * state + np.sqrt(1 - kept**2) * rng.standard_normal(walkers)
        result[frame] = state
    return result


def trajectories(z, terms=None, interval=INTERVAL):
    z = z[..., None] if z.ndim == 2 else z
    return FullTrajectories(z, np.zeros_like(z) if terms is None else terms, interval, 0)


@pytest.fixture(scope="module")
def single():
    """One time scale, of 2."""
    return trajectories(process(1 / SLOW, 3000, 40, 0))


@pytest.fixture(scope="module")
def blurred():
    """ξ is the sum of a slow and a fast process with shares 0.7 and 0.3 of the variance: not Markovian."""
    z = np.sqrt(0.7) * process(1 / SLOW, 6000, 40, 1) + np.sqrt(0.3) * process(1 / FAST, 6000, 40, 2)
    return trajectories(z)


def test_density(single):
    grid = uniform_grid(LINE, (20,))
    found = full_model.measured_density(single, grid)
    truth = np.exp(-(grid.points[:, 0] ** 2) / 2)
    fine = np.exp(-(uniform_grid(LINE, (2000,)).points[:, 0] ** 2) / 2).reshape(20, -1).mean(axis=1)
    truth = fine / (fine.sum() * grid.spacing[0])
    score = (found.density - truth)[3:-3] / found.stderr[3:-3]
    assert np.abs(score).max() < 3.5, score
    assert 0.3 < np.mean(score**2) < 2.2, score
    assert found.outside < 1e-3
    assert np.sum(found.density) * grid.spacing[0] == pytest.approx(1)


def test_autocorrelation_of_a_mixture(blurred):
    found = full_model.measured_autocorrelation(blurred, LINE, 6.0)
    truth = 0.7 * np.exp(-found.times / SLOW) + 0.3 * np.exp(-found.times / FAST)
    assert found.value[0] == pytest.approx(1)
    score = (found.value - truth)[1:] / found.stderr[1:]
    assert np.abs(score).max() < 3.5, score
    assert found.stderr.max() < 0.03


def test_time_scale_of_a_mixture_needs_a_lag_beyond_the_fast_time(blurred):
    """The constant 0.7 cancels; at a lag within the fast time the rate is wrong, and that lag is not chosen."""
    found = slowest_time_scale(blurred, LINE)
    value, stderr = found.value
    assert abs(value - SLOW) < 3.5 * stderr
    assert stderr < 0.1
    assert found.time_scales[0] < SLOW - 5 * found.stderr[0]
    assert found.lags[found.chosen] >= 2 * FAST
    assert np.isinf(found.periods[found.chosen])


def test_stderr_of_the_time_scale_is_the_scatter():
    found = [slowest_time_scale(trajectories(process(1 / SLOW, 800, 24, seed)), LINE) for seed in range(24)]
    values, errors = np.array([each.value for each in found]).T
    scores = (values - SLOW) / errors
    assert 0.4 < np.mean(scores**2) < 2.2, scores
    assert abs(scores.mean()) < 0.7


def test_lags_too_short_to_tell_do_not_hide_longer_ones():
    """ξ seen through noise: the shortest lags do not know the rate, and longer ones do."""
    z = process(1 / SLOW, 8000, 12, 4, interval=0.004)
    noise = np.random.default_rng(5).standard_normal(z.shape)
    found = slowest_time_scale(trajectories(z + noise, interval=0.004), LINE)
    value, stderr = found.value
    assert np.isnan(found.time_scales[0])
    assert abs(value - SLOW) < 3.5 * stderr


def test_a_driven_circle_turns():
    """Constant drift v on a circle: λ = -1 ± i v."""
    rng, speed = np.random.default_rng(3), 1.5
    steps = speed * INTERVAL + np.sqrt(2 * INTERVAL) * rng.standard_normal((4000, 32))
    z = np.mod(rng.uniform(0, 2 * np.pi, 32) + np.cumsum(steps, axis=0), 2 * np.pi)
    found = slowest_time_scale(trajectories(z), CIRCLE)
    value, stderr = found.value
    assert abs(value - 1) < 3.5 * stderr
    assert stderr < 0.05
    assert found.periods[found.chosen] == pytest.approx(2 * np.pi / speed, rel=0.05)


def test_a_time_scale_beyond_the_data_is_told():
    with pytest.raises(PhysicsError, match="longer"):
        slowest_time_scale(trajectories(np.tile(np.random.default_rng(0).standard_normal((1, 8)), (50, 1))), LINE)


def test_hidden_relaxation(single):
    """A term f(z) + fast noise: its deviation from f relaxes in the fast time."""
    grid = uniform_grid(LINE, (80,))
    z = single.z[..., 0]
    hidden = process(1 / 0.5, len(z), z.shape[1], 4)
    found = full_model.hidden_relaxation(trajectories(z, (np.sin(z) + hidden)[..., None]), grid)
    assert found == pytest.approx(0.5, rel=0.15)
    assert full_model.hidden_relaxation(trajectories(z, np.sin(z)[..., None]), grid) == 0
    stuck = np.broadcast_to(np.sign(np.arange(z.shape[1]) - 19.5), z.shape)
    never = full_model.hidden_relaxation(trajectories(z, (np.sin(z) + stuck)[..., None]), grid)
    assert never > 100


def test_what_drifts_is_not_stationary(single):
    assert full_model.drift_probability(single, LINE) > 1e-3
    z = single.z + 0.5 * np.linspace(0, 1, len(single.z))[:, None, None]
    assert full_model.drift_probability(trajectories(z), LINE) < 1e-3
    spreading = np.cumsum(np.random.default_rng(5).standard_normal((1000, 100)), axis=0)
    assert full_model.drift_probability(trajectories(spreading), LINE) < 1e-3


def test_transitions_are_those_of_the_observed_process(single, exact):
    """Against the matrix exponential of the finite volumes, looked at with the same interval."""
    coarse = exact.coarse([-6.0], [6.0], [False])
    table = exact.table(coarse, (240,), lambda z: -z / SLOW, lambda z: np.full((len(z), 1, 1), 1 / SLOW))
    dynamics = ReducedDynamics.from_table(table, coarse)
    first, second = table.z[:, 0] < -1, table.z[:, 0] > 0.5
    truth = observed_transition_times(dynamics, first, second, INTERVAL)
    found = counted_transitions(single, dynamics.grid, first, second)
    assert abs(found.forward - truth.forward) < 3.5 * found.forward_stderr
    assert abs(found.backward - truth.backward) < 3.5 * found.backward_stderr
    assert found.forward_stderr < 0.05 * found.forward
    assert abs(found.events[0] - found.events[1]) <= 40


def test_transitions_that_were_cut_off_are_not_lost():
    """Exponential waits of mean 5 in trajectories of length 4: naive averages of completed ones are below 2."""
    rng, frames, walkers = np.random.default_rng(6), 400, 600
    state = (rng.random((1, walkers)) < 0.5).astype(int)
    path = np.concatenate([state, rng.random((frames, walkers)) < 0.01 / 5]).cumsum(axis=0) % 2
    grid = uniform_grid(LINE, (8,))
    z = np.where(path == 0, -3.0, 3.0)
    found = counted_transitions(trajectories(z, interval=0.01), grid, grid.points[:, 0] < -1, grid.points[:, 0] > 1)
    for value, stderr in ((found.forward, found.forward_stderr), (found.backward, found.backward_stderr)):
        assert abs(value - 5) < 3.5 * stderr
        assert stderr < 0.6


def test_no_transition_is_infinite(single):
    grid = uniform_grid(LINE, (80,))
    found = counted_transitions(single, grid, grid.points[:, 0] < 0, grid.points[:, 0] > 3.95)
    assert found.events[0] == 0
    assert np.isinf(found.forward)


def test_few_walkers_have_no_standard_errors(single):
    few = trajectories(single.z[:, :4])
    with pytest.raises(InputError, match="8 walkers"):
        full_model.measured_density(few, uniform_grid(LINE, (20,)))


def test_simulation_of_the_full_model():
    """The linear cascade from its stationary law: the rate 1 of the full system, not the 0.9 of its projection."""
    reference = quadratic_slow_manifold()
    coarse = CoarseVariable(reference.coarse, np.array([-1.2]), np.array([1.2]), (False,))
    covariance = stationary_covariance()
    starts = np.random.default_rng(7).multivariate_normal(np.zeros(4), covariance, 64)
    told = []
    found = simulate_full(
        reference.system, coarse, starts, time=40.0, interval=0.1, key=jax.random.key(1), advance=told.append
    )
    assert found.z.shape == (400, 64, 1)
    assert found.terms.shape == (400, 64, 2)
    assert found.force_evaluations == 64 * 400 * (50 + 1)
    assert sum(told) == found.force_evaluations
    value, stderr = slowest_time_scale(found, coarse).value
    assert abs(value - 1) < 3.5 * stderr
    assert stderr < 0.06
    gain = covariance[2, 3] / covariance[3, 3]
    slope = np.sum(found.terms[..., 0] * found.z[..., 0]) / np.sum(found.z**2)
    assert slope == pytest.approx(gain - 1, abs=0.02)
    np.testing.assert_allclose(found.terms[..., 1], 0.05)
    assert -np.linalg.eigvals(drift_matrix()).real.max() == pytest.approx(1)
    assert len(found.after(10.0).z) == 300


def test_a_lost_walker_is_told():
    system = StochasticSystem(lambda q: q**3, lambda q: 0.1 * q, 1, np.ones((1, 1)), time_step=0.01)
    with pytest.raises(PhysicsError, match="finite"):
        simulate_full(system, LINE, np.ones((8, 1)), time=20.0, interval=1.0, key=jax.random.key(0))
    with pytest.raises(InputError, match="interval"):
        simulate_full(system, LINE, np.ones((8, 1)), time=1.0, interval=2.0, key=jax.random.key(0))
