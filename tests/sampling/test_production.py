"""Counted runs: chunks joined in order, progress told, walkers to go on from."""

import jax
import jax.numpy as jnp
import numpy as np

from micromacro.sampling.engine import JaxEngine, Tuning
from micromacro.sampling.production import Frames, join_frames, run_chunks
from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import Windows


def test_frames_are_joined_in_order():
    def part(value):
        return Frames(
            np.full((2, 3, 4, 5), value), np.full((2, 3, 4, 1), value), np.full((2, 3, 4), value), np.full(3, value)
        )

    joined = join_frames([part(1.0), part(2.0)])
    for array in (joined.position, joined.coarse, joined.log_density):
        np.testing.assert_array_equal(array.reshape(4, -1)[:, 0], [1, 1, 2, 2])
    np.testing.assert_array_equal(joined.acceptance, 1.5)


def test_a_run_goes_on_from_where_its_walkers_stand(known):
    coarse = known.coarse_variable([-1.5], [1.5], (False,))
    engine = JaxEngine(known.system(lambda q: 0.5 * q @ q, [[0.0, 0.0]]), coarse)
    windows = Windows(jnp.array([[-1.0], [1.0], [0.0]]), jnp.array([4.0]), zero_table(coarse, 20))
    tuning = Tuning(jnp.full(3, 0.5), jnp.broadcast_to(jnp.eye(2), (3, 2, 2)))
    told = []
    walkers = engine.start(windows, jnp.zeros((3, 4, 2)))
    last, frames = run_chunks(
        engine, windows, walkers, tuning, jax.random.key(0), chunks=3, frames=2, interval=5, on_steps=told.append
    )
    assert told == [10, 10, 10]
    assert engine.evaluations == 12 * 31
    assert frames.position.shape == (6, 3, 4, 2)
    np.testing.assert_array_equal(frames.position[-1], last.position)
    np.testing.assert_array_equal(frames.coarse, frames.position[..., :1])
    np.testing.assert_allclose(frames.log_density, -0.5 * np.sum(frames.position**2, axis=-1), rtol=1e-12)
    # every chunk has noises of its own
    steps = np.diff(frames.position, axis=0)
    assert not np.any(np.all(np.isclose(steps[2:], steps[:-2]), axis=(1, 2, 3)))
    assert np.all((frames.acceptance > 0.3) & (frames.acceptance <= 1))


def test_swaps_have_noise_of_their_own(known, monkeypatch):
    """No key is used twice: not for a swap and for the steps before it."""
    coarse = known.coarse_variable([-1.5], [1.5], (False,))
    engine = JaxEngine(known.system(lambda q: 0.5 * q @ q, [[0.0]]), coarse)
    windows = Windows(jnp.array([[-1.0], [1.0]]), jnp.array([4.0]), zero_table(coarse, 20))
    tuning = Tuning(jnp.full(2, 0.5), jnp.broadcast_to(jnp.eye(1), (2, 1, 1)))
    used = []
    advance, exchange = engine.advance, engine.exchange

    def watched_advance(windows, tuning, walkers, key, frames, interval):
        used.extend([key, *jax.random.split(key, frames)])
        return advance(windows, tuning, walkers, key, frames, interval)

    def watched_exchange(windows, walkers, key, *, even):
        used.append(key)
        return exchange(windows, walkers, key, even=even)

    monkeypatch.setattr(engine, "advance", watched_advance)
    monkeypatch.setattr(engine, "exchange", watched_exchange)
    walkers = engine.start(windows, jnp.zeros((2, 4, 1)))
    run_chunks(engine, windows, walkers, tuning, jax.random.key(0), chunks=4, frames=3, interval=2, exchange=True)
    words = {tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in used}
    assert len(words) == len(used) == 4 * 5
