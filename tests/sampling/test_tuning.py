"""Tuning: the acceptance that it steers to, the scale that it finds, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.errors import PhysicsError
from micromacro.sampling.engine import JaxEngine, Tuning
from micromacro.sampling.seeding import no_windows
from micromacro.sampling.table import zero_table
from micromacro.sampling.tuning import ACCEPTANCE, CHUNK_STEPS, adapt, check_finite, first_tuning, within_scale
from micromacro.sampling.windows import Windows

COVARIANCE = np.array([[4.0, 0.9, 0.0], [0.9, 0.25, 0.0], [0.0, 0.0, 0.01]])
PRECISION = np.linalg.inv(COVARIANCE)


def gaussian(q):
    return 0.5 * q @ PRECISION @ q


def kurtic(q):
    return 40 * (q[0] ** 2 - 1) ** 2 + 0.5 * q[1] ** 2 + 5 * (q[2] - jnp.sin(3 * q[1])) ** 2


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("potential", [gaussian, kurtic])
def test_every_window_reaches_the_acceptance(known, potential, rescale):
    coarse = known.coarse_variable([-1.5], [1.5], (False,))
    engine = JaxEngine(known.system(potential, [[1.0, 0.0, 0.0]]), coarse)
    # one soft window, one so stiff that it needs steps of another size
    windows = Windows(jnp.array([[-1.0], [1.0]]), jnp.array([30.0]), zero_table(coarse, 20))
    start = jnp.broadcast_to(windows.centers[:, :1, None] * jnp.array([1.0, 0.0, 0.0]), (2, 64, 3))
    first = first_tuning(2, 3)._replace(step_size=jnp.array([1e-6, 1e-1]))
    tuned = adapt(engine, windows, engine.start(windows, start), first, jax.random.key(0), 24, rescale=rescale)
    assert engine.evaluations == 128 * (1 + 24 * CHUNK_STEPS)
    _, saved = engine.advance(windows, tuned.tuning, tuned.walkers, jax.random.key(1), 10, 10)
    assert np.abs(np.asarray(saved.acceptance) - ACCEPTANCE).max() < 0.1
    assert np.array_equal(tuned.tuning.scale, first.scale) is not rescale


def test_the_scale_recovers_the_covariance_and_makes_steps_large(known):
    coarse = known.coarse_variable([-8.0], [8.0], (False,))
    engine = JaxEngine(known.system(gaussian, np.zeros((1, 3))), coarse)
    windows = no_windows(coarse, 1)
    start = jnp.asarray(np.random.default_rng(0).multivariate_normal(np.zeros(3), COVARIANCE, (1, 200)))
    walkers = engine.start(windows, start)
    tuned = adapt(engine, windows, walkers, first_tuning(1, 3), jax.random.key(0), 200, rescale=True)
    scale = np.asarray(tuned.tuning.scale[0])
    whitened = np.linalg.solve(scale, np.linalg.solve(scale, COVARIANCE).T)
    # runs of finite length see a little less than the whole of the slowest direction
    assert np.all(np.abs(np.linalg.eigvalsh(whitened) - 1) < 0.35)
    plain = adapt(engine, windows, walkers, first_tuning(1, 3), jax.random.key(0), 30, rescale=False)
    # without a scale the smallest direction, 0.1, sets the step: h L L^T against h
    assert float(tuned.tuning.step_size[0]) * COVARIANCE[0, 0] > 50 * float(plain.tuning.step_size[0])


def test_the_scale_is_that_of_moves_within_a_well_not_between_walkers():
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky(COVARIANCE)
    frames = rng.normal(size=(400, 2, 20, 3)) @ factor.T + 100.0 * rng.normal(size=(1, 2, 20, 3))
    for scale in np.asarray(within_scale(frames)):
        np.testing.assert_array_equal(scale, np.tril(scale))
        whitened = np.linalg.solve(factor, scale)
        # relative standard error of a variance from 8,000 samples is 1.6 %, of a standard deviation half of that
        assert np.abs(whitened @ whitened.T - np.eye(3)).max() < 5 * np.sqrt(2 / 8000)


def test_few_frames_shrink_the_scale_to_its_diagonal_and_keep_it_usable():
    frames = np.random.default_rng(0).normal(size=(2, 1, 2, 30))
    frames[..., 7] = 0.5
    scale = np.asarray(within_scale(frames)[0])
    assert np.isfinite(scale).all()
    assert np.all(np.diag(scale) > 0)
    assert np.linalg.matrix_rank(scale) == 30
    product = scale @ scale.T
    correlation = product / np.sqrt(np.outer(np.diag(product), np.diag(product)))
    assert np.abs(correlation - np.eye(30)).max() < 0.5


def test_far_too_few_frames_leave_nothing_but_the_diagonal():
    frames = np.random.default_rng(3).normal(size=(4, 2, 3, 80)) * np.linspace(1.0, 2.0, 80)
    for window, scale in enumerate(np.asarray(within_scale(frames))):
        moved = frames[:, window] - frames[:, window].mean(axis=0)
        np.testing.assert_allclose(scale, np.diag(np.sqrt(np.sum(moved**2, axis=(0, 1)) / 9)), rtol=1e-9)


def test_a_walker_without_energy_stops_the_run_with_its_window_and_step(known):
    coarse = known.coarse_variable([-2.0], [2.0], (False,))
    engine = JaxEngine(known.system(lambda q: jnp.sqrt(1.0 - q[0]) + q @ q, [[0.0, 0.0]]), coarse)
    windows = no_windows(coarse, 2)
    start = jnp.zeros((2, 3, 2)).at[1, 0, 0].set(1.5)
    walkers = engine.start(windows, start)
    with pytest.raises(PhysicsError, match=r"walker 0 .*window 1, z = \[0\.0\], step 50"):
        adapt(engine, windows, walkers, first_tuning(2, 2), jax.random.key(0), 3, rescale=False)


def test_an_infinite_force_at_a_finite_energy_is_seen(known):
    coarse = known.coarse_variable([-2.0], [2.0], (False,))
    engine = JaxEngine(known.system(lambda q: jnp.sqrt(jnp.abs(q[0])), [[0.0]]), coarse)
    windows = no_windows(coarse, 1)
    fine, broken = (engine.start(windows, jnp.full((1, 1, 1), x)) for x in (0.5, 0.0))
    check_finite(fine, windows, 0)
    assert np.isfinite(broken.log_target).all()
    with pytest.raises(PhysicsError, match="step 7"):
        check_finite(broken, windows, 7)


def test_the_first_tuning_is_cautious():
    tuning = first_tuning(3, 2)
    assert isinstance(tuning, Tuning)
    np.testing.assert_array_equal(tuning.scale, np.broadcast_to(np.eye(2), (3, 2, 2)))
    np.testing.assert_array_equal(tuning.step_size, 0.01)


def chains_of(rng, factor, frames: int = 20, windows: int = 4, walkers: int = 4) -> np.ndarray:
    """Walkers whose coordinates are correlated alike in all windows; half of each step is kept in time."""
    noise = rng.normal(size=(frames, windows, walkers, len(factor)))
    for frame in range(1, frames):
        noise[frame] = 0.5 * noise[frame - 1] + np.sqrt(0.75) * noise[frame]
    return noise @ factor.T


@pytest.mark.parametrize("strong", ["mode", "pair"])
def test_windows_of_few_frames_share_strong_correlations(strong):
    size = 60
    near = np.abs(np.arange(size)[:, None] - np.arange(size))
    correlation = np.exp(-near / size) if strong == "mode" else np.where(near == 0, 1.0, 0.0)
    if strong == "pair":
        correlation[3, 4] = correlation[4, 3] = 0.98
    frames = chains_of(np.random.default_rng(0), np.linalg.cholesky(correlation)) * np.linspace(1.0, 5.0, size)
    for scale in np.asarray(within_scale(frames)):
        product = scale @ scale.T
        found = product / np.sqrt(np.outer(np.diag(product), np.diag(product)))
        whitened = np.linalg.solve(np.linalg.cholesky(found), correlation)
        whitened = np.linalg.solve(np.linalg.cholesky(found), whitened.T)
        # half of them is believed, 320 / (320 + 5 * 60): the rest of the stretch stays
        assert np.linalg.cond(whitened) < 0.5 * np.linalg.cond(correlation)


def test_weak_correlations_of_few_frames_are_left_out():
    size = 60
    correlation = np.eye(size)
    correlation[0, 1] = correlation[1, 0] = 0.3
    for seed in range(10):
        frames = chains_of(np.random.default_rng(seed), np.linalg.cholesky(correlation))
        for scale in np.asarray(within_scale(frames)):
            np.testing.assert_array_equal(scale, np.diag(np.diag(scale)))
