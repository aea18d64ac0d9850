"""The integrator against closed forms: order of convergence, the Itô sense, independence, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.errors import InputError
from micromacro.sampling import euler_maruyama
from micromacro.sampling.euler_maruyama import Simulation, advance_blocks, simulate
from micromacro.systems.model import OverdampedSystem

STANDARD_ERRORS = 4.5
KEY = jax.random.key(11)


def restore(state):
    return -state


def within(value, expected, standard_error):
    assert abs(value - expected) < STANDARD_ERRORS * standard_error, (value, expected, standard_error)


def variance_within(values, expected):
    """Whether normal `values` have the variance `expected`."""
    within(values.var(), expected, expected * np.sqrt(2 / values.size))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("time_step", [0.8, 0.4, 0.1])
def test_variance_of_ornstein_and_uhlenbeck_is_that_of_the_discrete_process(dtype, time_step):
    # q' = (1 - h) q + sqrt(2 h) Z is stationary with variance 1 / (1 - h / 2): first order in h, exactly known.
    states = np.zeros((50_000, 2), dtype)
    final = simulate(restore, lambda q: jnp.sqrt(2.0) * jnp.ones_like(q), states, time_step, 120, KEY).final
    assert final.dtype == dtype
    variance_within(final, 1 / (1 - time_step / 2))
    within(final.mean(), 0, np.sqrt(final.var() / final.size))


def test_weak_order_is_one():
    steps = (0.4, 0.2, 0.1)
    states = np.zeros((400_000, 1), np.float32)
    finals = [simulate(restore, jnp.ones_like, states, h, int(24 / h), KEY).final for h in steps]
    errors = np.array([final.astype(float).var() - 0.5 for final in finals])
    order = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    # The errors are h / (4 - 2 h): order 1.124 between these steps, 1 in the limit. That of the last is the least sure.
    standard_error = 0.5 * np.sqrt(2 / states.size) / errors[-1] / np.log(4)
    within(order, np.log(4.75) / np.log(4), np.sqrt(2) * standard_error)


def test_variance_grows_as_that_of_the_discrete_process():
    states = np.zeros((20_000, 1))
    saved = simulate(restore, jnp.ones_like, states, 0.1, 21, KEY, save_every=5).saved
    assert saved.shape == (4, 20_000, 1)
    for frame, values in enumerate(saved):
        keep = 0.9 ** (2 * 5 * (frame + 1))
        variance_within(values, 0.1 * (1 - keep) / (1 - 0.81))


def grow(state):
    return 0.3 * state


def multiply(state):
    return 0.4 * state


def test_multiplicative_noise_is_that_of_ito():
    # E q and E q^2 of the scheme for geometric Brownian motion; in the sense of Stratonovich the mean gains 8 %.
    time_step, steps = 0.01, 100
    final = simulate(grow, multiply, np.ones((200_000, 1)), time_step, steps, KEY).final[:, 0]
    mean = (1 + 0.3 * time_step) ** steps
    second = ((1 + 0.3 * time_step) ** 2 + 0.16 * time_step) ** steps
    within(final.mean(), mean, final.std() / np.sqrt(final.size))
    within(np.mean(final**2), second, np.std(final**2) / np.sqrt(final.size))
    assert abs(final.mean() - mean * np.exp(0.08)) > 20 * final.std() / np.sqrt(final.size)


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_matrix_mixes_the_noises(dimension):
    mixing = np.tril(np.arange(1.0, dimension**2 + 1).reshape(dimension, dimension)) / dimension
    states = np.zeros((100_000, dimension))
    final = simulate(jnp.zeros_like, lambda q: jnp.asarray(mixing, q.dtype), states, 0.25, 4, KEY).final
    expected = mixing @ mixing.T
    errors = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / len(states))
    assert np.all(np.abs(np.cov(final.T) - expected) < STANDARD_ERRORS * errors)


def double_well(state):
    return jnp.sum(2 * (state**2 - 1) ** 2)


def test_double_well_is_sampled_as_its_density_has_it():
    system = OverdampedSystem(double_well, 1, np.ones((1, 1)), mobility=np.array([2.0]))
    axis = np.linspace(-3, 3, 6001)
    density = np.exp(-2 * (axis**2 - 1) ** 2)
    second, fourth = ((axis**power * density).sum() / density.sum() for power in (2, 4))
    states = np.resize(np.float32([-1, 1]), (20_000, 1))
    final = simulate(system.drift, system.diffusion, states, 2e-4, 4000, KEY).final.astype(float)
    within(np.mean(final**2), second, np.sqrt((fourth - second**2) / len(final)))


def pull(state, centre, strength):
    return -strength * (state - centre)


def test_each_walker_has_its_own_arguments():
    centres = np.repeat(np.arange(4.0), 10_000)[:, None] * [1.0, -1.0]
    strengths = np.repeat([1.0, 2.0, 4.0, 8.0], 10_000)
    arguments = (centres, strengths)
    final = simulate(pull, jnp.ones_like, np.zeros((40_000, 2)), 0.01, 1500, KEY, arguments=arguments).final
    for centre, strength, values in zip(centres[::10_000], strengths[::10_000], final.reshape(4, -1, 2), strict=True):
        variance = 1 / (2 * strength - 0.01 * strength**2)
        for component in range(2):
            variance_within(values[:, component], variance)
            within(values[:, component].mean(), centre[component], np.sqrt(variance / 10_000))


@pytest.mark.parametrize("walkers", [1, 7, 130, 768, 1000])
def test_walkers_of_any_batch_are_independent(walkers):
    saved = simulate(jnp.zeros_like, jnp.ones_like, np.zeros((walkers, 2)), 1.0, 400, KEY, save_every=1).saved
    assert saved.shape == (400, walkers, 2)
    columns = np.diff(saved, axis=0, prepend=0).reshape(400, -1)
    correlation = np.corrcoef(columns.T)[np.triu_indices(columns.shape[1], 1)]
    assert np.abs(correlation).max() < 8 / np.sqrt(400)
    within(correlation.std(), 1 / np.sqrt(400), 5 / 400)


def test_the_result_depends_neither_on_threads_nor_on_what_is_saved(monkeypatch):
    states = np.ones((1000, 2), np.float32)
    many = simulate(restore, jnp.ones_like, states, 0.01, 50, KEY, save_every=7)
    monkeypatch.setattr(euler_maruyama.os, "cpu_count", lambda: 1)
    one = simulate(restore, jnp.ones_like, states, 0.01, 50, KEY, save_every=7)
    unsaved = simulate(restore, jnp.ones_like, states, 0.01, 50, KEY)
    assert np.array_equal(many.final, one.final)
    assert np.array_equal(many.saved, one.saved)
    assert unsaved.saved.shape == (0, 1000, 2)
    np.testing.assert_allclose(unsaved.final, many.final, rtol=1e-5, atol=1e-6)
    assert not np.allclose(many.final, simulate(restore, jnp.ones_like, states, 0.01, 50, jax.random.key(12)).final)


@pytest.mark.parametrize("save_every", [None, 7, 40])
def test_work_that_is_cut_into_legs_is_the_same_work(monkeypatch, save_every):
    states = np.ones((500, 2))
    whole = Simulation.of(states, 0.01, 100, KEY, save_every)
    expected = whole.joined([advance_blocks(restore, jnp.ones_like, **task) for task in whole.tasks()])
    monkeypatch.setattr(euler_maruyama, "LEG", 9)
    calls: list[None] = []
    cut = [advance_blocks(restore, jnp.ones_like, **task, go_on=lambda: calls.append(None)) for task in whole.tasks()]
    found = whole.joined(cut)
    np.testing.assert_allclose(found.final, expected.final, rtol=1e-12)
    np.testing.assert_allclose(found.saved, expected.saved, rtol=1e-12)
    simulated = simulate(restore, jnp.ones_like, states, 0.01, 100, KEY, save_every=save_every)
    np.testing.assert_allclose(found.saved, simulated.saved, rtol=1e-12)
    assert len(calls) >= 10 * whole.count


def test_sixty_dimensions_have_sixty_independent_noises():
    final = simulate(restore, jnp.ones_like, np.zeros((5000, 60), np.float32), 0.1, 100, KEY).final
    correlation = np.corrcoef(final.T)[np.triu_indices(60, 1)]
    assert np.abs(correlation).max() < 5.5 / np.sqrt(5000)
    variance_within(final, 1 / (2 - 0.1))


def test_no_steps_change_nothing():
    states = np.arange(10.0).reshape(5, 2)
    assert np.array_equal(simulate(restore, jnp.ones_like, states, 0.1, 0, KEY).final, states)


def explode(state):
    return state**3


def test_what_is_no_longer_finite_is_returned():
    final = simulate(explode, jnp.ones_like, np.full((3, 1), 10.0), 1.0, 50, KEY).final
    assert not np.isfinite(final).any()


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"states": np.zeros(3)}, "states"),
        ({"states": np.zeros((0, 2))}, "states"),
        ({"states": np.zeros((3, 2), int)}, "states"),
        ({"time_step": 0.0}, "time_step"),
        ({"time_step": float("nan")}, "time_step"),
        ({"steps": -1}, "steps"),
        ({"steps": 2**32}, "steps"),
        ({"save_every": 0}, "save_every"),
        ({"arguments": (np.zeros((2, 2)),)}, "arguments"),
    ],
)
def test_bad_arguments_are_refused_by_name(change, parameter):
    arguments = {"states": np.zeros((3, 2)), "time_step": 0.1, "steps": 10, "key": KEY} | change
    with pytest.raises(InputError, match=f"^{parameter} must"):
        simulate(restore, jnp.ones_like, **arguments)
