"""The engine: what it counts, that it repeats itself, and that windows and swaps sample what they should."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.sampling import tuned as tuned_module
from micromacro.sampling.engine import Engine, JaxEngine, Tuning
from micromacro.sampling.parts import parts
from micromacro.sampling.production import run_chunks
from micromacro.sampling.table import zero_table
from micromacro.sampling.tuning import adapt, first_tuning
from micromacro.sampling.windows import Windows


@pytest.fixture(scope="module")
def line(known):
    """Two coordinates of a double well in five windows over the first, 20 walkers each, tuned."""
    coarse = known.coarse_variable([-1.5], [1.5], (False,))
    engine = JaxEngine(known.system(known.quartic, [[-1.0, -0.5]]), coarse)
    flattening = known.table_of(coarse, 60, lambda z: 1.5 * (z[:, 0] ** 2 - 1) ** 2, padding=8)
    windows = Windows(jnp.linspace(-1.5, 1.5, 5)[:, None], jnp.array([4.0]), flattening)
    start = jnp.zeros((5, 100, 2)) + windows.centers[:, None] * jnp.array([1.0, 0.5])
    tuned = adapt(
        engine, windows, engine.start(windows, start), first_tuning(5, 2), jax.random.key(1), 12, rescale=True
    )
    return coarse, engine, windows, tuned


def test_parts_come_back_in_their_places(known):
    """Every walker of a batch in many parts is under its own window, and counts in that window's acceptance."""
    coarse = known.coarse_variable([-1.5], [1.5], (False,))
    engine = JaxEngine(known.system(known.quartic, [[-1.0, -0.5]]), coarse)
    for count, walkers in ((8, 128), (2, 700)):
        assert len(parts(count, walkers, 2, 600)) > 2
        windows = Windows(jnp.linspace(-1.5, 1.5, count)[:, None], jnp.array([200.0]), zero_table(coarse, 20))
        begun = engine.start(windows, jnp.zeros((count, walkers, 2)) + windows.centers[:, None])
        tuning = first_tuning(count, 2)
        # the last window moves by steps of which hardly any is accepted
        tuning = tuning._replace(step_size=tuning.step_size.at[-1].set(50.0))
        last, chunk = engine.advance(windows, tuning, begun, jax.random.key(0), 2, 300)
        for one, other in zip(last, engine.start(windows, last.position), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(chunk.position[-1], last.position)
        np.testing.assert_array_equal(chunk.coarse[..., 0], chunk.position[..., 0])
        assert chunk.acceptance[-1] < 0.5 < np.min(chunk.acceptance[:-1])
        states = np.asarray(last.position[:-1]).reshape(-1, 2)
        assert len(np.unique(states, axis=0)) == len(states)


def test_a_diagonal_scale_in_many_dimensions_is_no_other(known, monkeypatch):
    coarse = known.coarse_variable([-1.5], [1.5], (False,))
    system = known.system(lambda q: known.quartic(q[:2]) + 0.5 * jnp.sum(q[2:] ** 2), np.zeros((1, 64)))
    windows = Windows(jnp.zeros((1, 1)), jnp.array([4.0]), zero_table(coarse, 20))
    tuning = Tuning(jnp.full(1, 0.1), jnp.diag(jnp.linspace(0.5, 1.0, 64))[None])
    found = []
    for many in (64, 65):
        monkeypatch.setattr(tuned_module, "MANY_DIMENSIONS", many)
        engine = JaxEngine(system, coarse)
        _, chunk = engine.advance(
            windows, tuning, engine.start(windows, jnp.zeros((1, 8, 64))), jax.random.key(0), 2, 5
        )
        found.append(np.asarray(chunk.position))
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-12)
    assert np.ptp(found[0]) > 0.1


def fresh(engine):
    return JaxEngine(engine.system, engine.coarse)


def test_it_is_an_engine(line):
    assert isinstance(line[1], Engine)


def test_every_evaluation_is_counted_once(known):
    calls = []

    def potential(q):
        jax.debug.callback(lambda _: calls.append(1), q[0])
        return 0.5 * q @ q

    coarse = known.coarse_variable([-1.5], [1.5], (False,))
    engine = JaxEngine(known.system(potential, [[0.0, 0.0]]), coarse)
    windows = Windows(jnp.zeros((3, 1)), jnp.array([4.0]), zero_table(coarse, 20))

    def spent():
        jax.effects_barrier()
        return engine.evaluations, len(calls)

    walkers = engine.start(windows, jnp.zeros((3, 4, 2)))
    assert spent() == (12, 12)
    engine.advance(windows, first_tuning(3, 2), walkers, jax.random.key(0), 2, 5)
    assert spent() == (12 + 120, 12 + 120)
    engine.log_density(jnp.zeros((7, 2)))
    assert spent() == (139, 139)
    # an exchange is free by definition: it could be done with the energies that are known
    engine.exchange(windows, walkers, jax.random.key(0), even=True)
    assert engine.evaluations == 139


def test_a_walker_knows_its_energies(known, line):
    _, engine, windows, tuned = line
    walkers = fresh(engine).start(windows, tuned.walkers.position)
    x = np.asarray(walkers.position)
    log_density = -np.asarray(jax.vmap(jax.vmap(known.quartic))(walkers.position))
    bias = 2.0 * (x[..., 0] - np.asarray(windows.centers)) ** 2 - 1.5 * (x[..., 0] ** 2 - 1) ** 2
    np.testing.assert_allclose(walkers.coarse[..., 0], x[..., 0])
    np.testing.assert_allclose(walkers.log_density, log_density, rtol=1e-12)
    inside = np.abs(x[..., 0]) < 1.7
    assert inside.mean() > 0.7
    np.testing.assert_allclose((walkers.log_target - log_density + bias)[inside], 0, atol=1e-3)
    np.testing.assert_allclose(fresh(engine).log_density(walkers.position[0]), log_density[0], rtol=1e-12)


def test_one_key_gives_one_run_and_another_key_another(line):
    _, engine, windows, tuned = line
    runs = [
        np.asarray(engine.advance(windows, tuned.tuning, tuned.walkers, jax.random.key(seed), 2, 5)[1].position)
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(runs[0], runs[1])
    assert not np.isclose(runs[0][-1], runs[2][-1]).any()


def test_walkers_and_windows_have_noises_of_their_own(known):
    coarse = known.coarse_variable([-1.5], [1.5], (False,))
    engine = JaxEngine(known.system(lambda q: 0.5 * q @ q, [[0.0, 0.0]]), coarse)
    windows = Windows(jnp.zeros((4, 1)), jnp.array([1.0]), zero_table(coarse, 20))
    walkers = engine.start(windows, jnp.zeros((4, 50, 2)))
    _, saved = engine.advance(windows, first_tuning(4, 2), walkers, jax.random.key(0), 1, 1)
    moves = np.asarray(saved.position).ravel()
    moves = moves[moves != 0]
    assert len(np.unique(moves)) == len(moves) > 300


def window_moments(known, centers, log_density, powers, low, high, difference=np.subtract, stiffness=4.0):
    return np.array(
        [
            known.line_average(lambda x, c=c: log_density(x) - stiffness / 2 * difference(x, c) ** 2, powers, low, high)
            for c in centers
        ]
    )


def powers(x):
    return np.stack([x, x**2, x**3], axis=-1)


@pytest.mark.parametrize("exchange", [False, True])
def test_every_window_has_its_distribution_with_and_without_exchange(known, line, exchange):
    _, engine, windows, tuned = line
    _, frames = run_chunks(
        engine,
        windows,
        tuned.walkers,
        tuned.tuning,
        jax.random.key(3),
        chunks=150,
        frames=1,
        interval=6,
        exchange=exchange,
    )
    table = windows.flattening
    flattening = jax.jit(jax.vmap(lambda z: table(z)))

    def log_density(x):
        return known.quartic_log(x) + np.asarray(flattening(jnp.asarray(x)[:, None]))

    exact = window_moments(known, np.asarray(windows.centers)[:, 0], log_density, powers, -4, 4)
    x = frames.coarse[30:, ..., 0]
    values = powers(x)
    # a swap keeps the number of the walker: walkers of one number are one chain, of all windows
    z = np.array([known.z_scores(values[:, k], exact[k]) for k in range(5)])
    assert np.abs(z).max() < 4
    hidden = frames.position[30:, ..., 1] - 0.5 * x
    squares = np.stack([hidden, hidden**2, hidden * x], axis=-1)
    assert np.abs([known.z_scores(squares[:, k], [0.0, 0.25, 0.0]) for k in range(5)]).max() < 4


def test_swaps_are_between_neighbours_and_as_often_as_metropolis_says(known, line):
    _, engine, windows, tuned = line
    walkers = tuned.walkers
    z = np.asarray(walkers.coarse)[..., 0]
    position = np.asarray(walkers.position)
    table = jax.vmap(jax.vmap(windows.flattening))
    flat = np.asarray(table(walkers.coarse))

    def bias(window, value, flattening):
        return 2.0 * (value - np.asarray(windows.centers)[window, 0]) ** 2 - flattening

    for even, pairs in ((True, [(0, 1), (2, 3)]), (False, [(1, 2), (3, 4)])):
        rates, swaps = [], []
        for seed in range(40):
            after, rate = engine.exchange(windows, walkers, jax.random.key(seed), even=even)
            moved = np.asarray(after.position)
            for first, second in pairs:
                swapped = np.all(moved[first] == position[second], axis=-1)
                assert np.array_equal(swapped, np.all(moved[second] == position[first], axis=-1))
                assert np.array_equal(~swapped, np.all(moved[first] == position[first], axis=-1))
                assert abs(float(rate[first]) - swapped.mean()) < 1e-6
            alone = (set(range(5)) - set(np.ravel(pairs))).pop()
            assert np.array_equal(moved[alone], position[alone])
            assert float(rate[alone]) == 0
            expected = engine.start(windows, after.position)
            np.testing.assert_allclose(after.log_target, expected.log_target, rtol=1e-12)
            rates.append(np.asarray(rate))
        for first, second in pairs:
            change = bias(first, z[second], flat[second]) + bias(second, z[first], flat[first])
            change -= bias(first, z[first], flat[first]) + bias(second, z[second], flat[second])
            chance = np.minimum(1, np.exp(-change))
            error = np.sqrt(np.sum(chance * (1 - chance)) / 40) / len(chance)
            assert abs(np.mean([rate[first] for rate in rates]) - chance.mean()) < 4 * error
            swaps.append(chance.mean())
        assert 0.05 < min(swaps) < max(swaps) < 0.95


def test_windows_on_a_period_sample_across_the_seam(known):
    coarse = known.coarse_variable([-np.pi], [np.pi], (True,))
    engine = JaxEngine(known.system(lambda q: 1.0 * jnp.cos(q[0]) + 0.8 * jnp.sin(2 * q[0]), [[0.0]]), coarse)
    centers = np.array([-np.pi, -np.pi / 2, 0.0, 3.0])
    windows = Windows(jnp.asarray(centers)[:, None], jnp.array([4.0]), zero_table(coarse, 40))
    # started a whole turn away, on either side
    start = jnp.asarray(centers)[:, None, None] + 2 * np.pi * jnp.asarray(np.resize([-1.0, 0.0, 1.0], 99))[:, None]
    tuned = adapt(
        engine, windows, engine.start(windows, start), first_tuning(4, 1), jax.random.key(0), 10, rescale=True
    )
    _, frames = run_chunks(
        engine, windows, tuned.walkers, tuned.tuning, jax.random.key(1), chunks=1, frames=300, interval=5
    )
    assert np.all(np.abs(frames.coarse) <= np.pi)

    def trigonometric(x):
        return np.stack([np.cos(x), np.sin(x), np.cos(2 * x), np.sin(2 * x)], axis=-1)

    def difference(x, center):
        return (x - center + np.pi) % (2 * np.pi) - np.pi

    exact = window_moments(
        known, centers, lambda x: -np.cos(x) - 0.8 * np.sin(2 * x), trigonometric, -np.pi, np.pi, difference
    )
    values = trigonometric(frames.coarse[..., 0])
    assert np.abs([known.z_scores(values[:, k], exact[k]) for k in range(4)]).max() < 4
    # the window on the seam holds both sides of it
    assert 0.1 < np.mean(frames.coarse[:, 0] > 0) < 0.9


LINEAR_ALGEBRA = """
import jax, jax.numpy as jnp, numpy as np
from jax.scipy.linalg import cho_solve
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.table import zero_table
from micromacro.sampling.tuning import first_tuning
from micromacro.sampling.windows import Windows
from micromacro.systems.model import OverdampedSystem

weights = jnp.asarray(np.random.default_rng(1).standard_normal((256, 40)) / 40**0.5)

def potential(q):
    matrix = jnp.eye(40) + 0.1 * jnp.outer(q, q)
    factor = jnp.linalg.cholesky(matrix)
    return q @ cho_solve((factor, True), q) + jnp.sum(jnp.tanh(weights @ q) * jnp.tanh(weights @ (matrix @ q)))

coarse = CoarseVariable(lambda q: q[:1], np.array([-2.0]), np.array([2.0]), (False,))
engine = JaxEngine(OverdampedSystem(potential, 40, np.zeros((1, 40)), time_step=1e-3), coarse)
windows = Windows(jnp.linspace(-1.5, 1.5, 8)[:, None], jnp.array([40.0]), zero_table(coarse, 20))
walkers = engine.start(windows, jnp.zeros((8, 64, 40)))
_, chunk = engine.advance(windows, first_tuning(8, 40), walkers, jax.random.key(0), 5, 10)
print(np.isfinite(np.asarray(chunk.log_density)).all())
"""


def test_linear_algebra_in_a_potential_comes_to_an_end():
    """With the threads that JAX has by default it waits for itself; see `configuration`."""
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"}
    command = [sys.executable, "-c", LINEAR_ALGEBRA]
    found = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True, env=environment)
    assert found.stdout.strip() == "True"
