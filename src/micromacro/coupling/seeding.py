"""A round that a generator without a density can only seed: the physics relaxes, and nothing corrects the wells."""

from collections.abc import Callable
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy.spatial import KDTree

from micromacro.coupling.moves import to_hidden
from micromacro.coupling.rounds import Round, Schedule, local_round
from micromacro.sampling.engine import Engine, Tuning
from micromacro.sampling.proposal import ConditionalSampler
from micromacro.sampling.windows import Windows

RELAXATION_CHUNKS = 8


def seeded_round(
    engine: Engine,
    generator: ConditionalSampler,
    windows: Windows,
    positions: Float[Array, "windows walkers D"],
    labels: Int[np.ndarray, "labelled walkers"],
    tuning: Tuning,
    schedule: Schedule,
    key: Key[Array, ""],
    on_steps: Callable[[int], None] = lambda _: None,
) -> Round:
    """Put every walker on a draw of the generator, let the physics relax it, and sample by local moves.

    The proportions of hidden wells stay those of the generator wherever walkers do not cross: the round says in which
    well each walker began, so that mixing can be judged between them.

    **Arguments:**

    - `positions`: walkers to replace; one whose draw cannot be simulated keeps its place.
    - `labels`: the starting points that `positions` came from, `(windows, walkers)`; walkers of windows that were added
      after these take that of the nearest walker of any other window.
    """
    seed_key, round_key = jax.random.split(key)
    seeds = seed(engine, generator, windows, positions, seed_key)
    observe = jax.jit(jax.vmap(jax.vmap(engine.system.observe)))
    known = np.asarray(observe(positions))
    start = nearest_labels(known, with_added(known, labels), np.asarray(observe(seeds)))
    result = local_round(
        engine,
        windows,
        seeds,
        tuning,
        schedule,
        round_key,
        exchange=False,
        adapt_chunks=RELAXATION_CHUNKS,
        on_steps=on_steps,
    )
    return replace(result, start=start)


def seed(
    engine: Engine,
    generator: ConditionalSampler,
    windows: Windows,
    positions: Float[Array, "windows walkers D"],
    key: Key[Array, ""],
) -> Float[Array, "windows walkers D"]:
    """Draws at the centre of every window where they can be simulated, `positions` elsewhere.

    Those of a molecule are minimised a little first. One evaluation each besides those of `Engine.repaired`.
    """

    @eqx.filter_jit
    def batch(generator, centers, positions, keys):
        def one(center, position, key):
            state, reachable = to_hidden(engine.system, generator.sample(center, key).astype(position.dtype))
            return jnp.where(reachable, state, position)

        return jax.vmap(jax.vmap(one, in_axes=(None, 0, 0)))(centers, positions, keys)

    keys = jax.random.split(key, positions.shape[:2])
    drawn = batch(generator, windows.centers, positions, keys)
    repaired = engine.repaired(drawn.reshape(-1, drawn.shape[-1])).reshape(drawn.shape)
    drawn = jnp.where(jnp.all(jnp.isfinite(repaired), axis=-1, keepdims=True), repaired, positions)
    there = engine.start(windows, drawn)
    usable = jnp.isfinite(there.log_target) & jnp.all(jnp.isfinite(there.gradient), axis=-1)
    return jnp.where(usable[..., None], drawn, positions)


def with_added(
    states: Float[np.ndarray, "windows walkers Y"], labels: Int[np.ndarray, "labelled walkers"]
) -> Int[np.ndarray, "windows walkers"]:
    """Labels of all windows, where only the first ones have them."""
    count, walkers = labels.shape
    if len(states) == count:
        return labels
    pooled, others = (part.reshape(1, -1, states.shape[-1]) for part in (states[:count], states[count:]))
    return np.concatenate([labels, nearest_labels(pooled, labels.reshape(1, -1), others).reshape(-1, walkers)])


def nearest_labels(
    known: Float[np.ndarray, "windows walkers Y"],
    labels: Int[np.ndarray, "windows walkers"],
    states: Float[np.ndarray, "windows others Y"],
) -> Int[np.ndarray, "windows others"]:
    """The label of the known state of the same window that is nearest to each state, in units of their spread."""
    found = np.empty(states.shape[:2], int)
    for window, (reference, label, here) in enumerate(zip(known, labels, states, strict=True)):
        spread = reference.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        found[window] = label[KDTree(reference / spread).query(here / spread)[1]]
    return found
