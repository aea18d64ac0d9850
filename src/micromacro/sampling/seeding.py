"""Exploration from the known starting points, and pulling walkers into every window from each of them."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.engine import Chunk, Engine, Tuning
from micromacro.sampling.table import zero_table
from micromacro.sampling.tuning import FRAMES, adapt, check_finite, first_tuning
from micromacro.sampling.windows import Windows
from micromacro.systems.model import FRAME_STEPS

BIAS_POINTS = 60
PULLS = 40
NEAREST_SEEDS = 8


@dataclass(frozen=True)
class Exploration:
    """Short unbiased runs, one group of walkers for each starting point.

    `position` `(frames, starts, walkers, D)`, `coarse` `(frames, starts, walkers, d)`; `scale` `(S, S)` and `step_size`
    of the local sampler; `spread` `(d,)`: the smallest standard deviation of ξ within a start.
    """

    position: Float[np.ndarray, "frames starts walkers D"]
    coarse: Float[np.ndarray, "frames starts walkers d"]
    step_size: float
    scale: Float[np.ndarray, "S S"]
    spread: Float[np.ndarray, "d"]


@dataclass(frozen=True)
class Seeds:
    """States to begin from: `position` `(m, D)`, `coarse` `(m, d)`, and the starting point in whose well each is."""

    position: Float[np.ndarray, "m D"]
    coarse: Float[np.ndarray, "m d"]
    label: Int[np.ndarray, "m"]


def joined_explorations(first: Exploration, second: Exploration) -> Exploration:
    """The exploration of two sets of starting points as one."""
    starts = [part.position.shape[1] for part in (first, second)]
    covariance = [part.scale @ part.scale.T for part in (first, second)]
    return Exploration(
        np.concatenate([first.position, second.position], axis=1),
        np.concatenate([first.coarse, second.coarse], axis=1),
        min(first.step_size, second.step_size),
        np.linalg.cholesky(np.average(covariance, axis=0, weights=starts)),
        np.minimum(first.spread, second.spread),
    )


def no_windows(coarse: CoarseVariable, count: int) -> Windows:
    """`count` copies of no bias at all."""
    centers = jnp.broadcast_to(jnp.asarray((coarse.lower + coarse.upper) / 2), (count, coarse.dimension))
    return Windows(centers, jnp.zeros(coarse.dimension), zero_table(coarse, BIAS_POINTS))


def explore(
    engine: Engine,
    coarse: CoarseVariable,
    initial: Float[np.ndarray, "n D"],
    walkers: int,
    key: Key[Array, ""],
    on_steps: Callable[[int], None] = lambda _: None,
) -> Exploration:
    """Run unbiased from every starting point and learn the local scales.

    `on_steps` is called with the steps of a walker just done.

    **Returns:** frames after the sampler was tuned; the cost is `exploration_cost`.
    """
    windows = no_windows(coarse, len(initial))
    start = jnp.repeat(jnp.asarray(initial)[:, None, :], walkers, axis=1)
    state = engine.start(windows, start)
    check_finite(state, windows, 0)
    tune_key, run_key = jax.random.split(key)
    begin = first_tuning(len(initial), initial.shape[1] if engine.adjusted else 1)
    tuned = adapt(engine, windows, state, begin, tune_key, 24, rescale=True, on_steps=on_steps)
    _, saved = engine.advance(windows, tuned.tuning, tuned.walkers, run_key, 4 * FRAMES, engine.frame_steps)
    on_steps(4 * FRAMES * engine.frame_steps)
    spread = np.asarray(_spread(coarse, saved)).min(axis=0)
    scale = np.linalg.cholesky(np.mean([s @ s.T for s in np.asarray(tuned.tuning.scale)], axis=0))
    step_size = float(np.min(tuned.tuning.step_size))
    return Exploration(np.asarray(saved.position), np.asarray(saved.coarse), step_size, scale, spread)


def exploration_cost(starts: int, walkers: int, frame_steps: int = FRAME_STEPS) -> int:
    """Force evaluations of `explore`."""
    return starts * walkers * (1 + 28 * FRAMES * frame_steps)


def _spread(coarse: CoarseVariable, saved: Chunk) -> Float[Array, "starts d"]:
    delta = coarse.difference(saved.coarse, saved.coarse[-1:, :, :1])
    return jnp.std(delta - jnp.mean(delta, axis=0), axis=(0, 2))


def pull(
    engine: Engine,
    coarse: CoarseVariable,
    windows: Windows,
    initial: Float[np.ndarray, "n D"],
    walkers: int,
    exploration: Exploration,
    key: Key[Array, ""],
    seeds: Seeds | None = None,
    on_steps: Callable[[int], None] = lambda _: None,
) -> Float[Array, "windows walkers D"]:
    """Walkers for every window from every starting point in equal shares, drawn along by a moving window.

    Each walker has a window of its own on the way: its centre moves from where the walker began to where it is to be,
    by the shortest way round where ξ is periodic. With `seeds` it begins at one of its well that is near its window.
    `on_steps` is called with the steps of a walker just done.
    """
    dimension = initial.shape[1]
    begin, goal = _journeys(windows, walkers, exploration)
    if seeds is not None:
        begin = _from_seeds(coarse, windows, start_labels(len(initial), walkers), seeds, begin)
    count = len(goal)
    path = np.asarray(coarse.difference(jnp.asarray(goal), jnp.asarray(begin[1])))
    moving = Windows(jnp.asarray(begin[1]), windows.stiffness, zero_table(coarse, BIAS_POINTS))
    scale = jnp.broadcast_to(jnp.asarray(exploration.scale), (count, *exploration.scale.shape))
    step_size = np.full((windows.count, walkers), exploration.step_size)
    position = jnp.asarray(begin[0])[:, None, :]
    for chunk in range(PULLS):
        share = min(1.0, (chunk + 1) / (0.75 * PULLS))
        center = coarse.wrap(jnp.asarray(begin[1] + share * path))
        moving = Windows(center, moving.stiffness, moving.flattening)
        state = engine.start(moving, position)
        tuning = Tuning(jnp.asarray(step_size.reshape(-1)), scale)
        state, saved = engine.advance(moving, tuning, state, jax.random.fold_in(key, chunk), 1, engine.frame_steps)
        check_finite(state, moving, (chunk + 1) * engine.frame_steps)
        acceptance = np.asarray(saved.acceptance).reshape(windows.count, walkers).mean(axis=1, keepdims=True)
        step_size = step_size * np.exp(np.clip(3 * (acceptance - 0.6), -1.5, 0.5))
        position = state.position
        on_steps(engine.frame_steps)
    return position.reshape(windows.count, walkers, dimension)


def pull_cost(windows: int, walkers: int, frame_steps: int = FRAME_STEPS) -> int:
    """Force evaluations of `pull`."""
    return windows * walkers * PULLS * (frame_steps + 1)


def start_labels(starts: int, walkers: int) -> Int[np.ndarray, "walkers"]:
    """Which starting point each walker of a window came from."""
    return np.arange(walkers) % starts


def _journeys(windows: Windows, walkers: int, exploration: Exploration):
    starts, explorers = exploration.position.shape[1:3]
    label = start_labels(starts, walkers)
    which = (np.arange(walkers) // starts) % explorers
    position = np.tile(exploration.position[-1, label, which], (windows.count, 1))
    coarse_begin = np.tile(exploration.coarse[-1, label, which], (windows.count, 1))
    goal = np.repeat(np.asarray(windows.centers), walkers, axis=0)
    return (position, coarse_begin), goal


def _from_seeds(
    coarse: CoarseVariable, windows: Windows, label: np.ndarray, seeds: Seeds, begin: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """`begin`, with the nearest seeds of the same label in turn where there are any."""
    position, coarse_begin = (part.reshape(windows.count, len(label), -1).copy() for part in begin)
    for window, centre in enumerate(np.asarray(windows.centers)):
        distance = np.sum((np.asarray(coarse.difference(seeds.coarse, centre)) / coarse.range) ** 2, axis=1)
        for one in np.unique(label):
            of_well = np.flatnonzero(seeds.label == one)
            nearest = of_well[np.argsort(distance[of_well], kind="stable")][:NEAREST_SEEDS]
            if len(nearest):
                chosen = np.resize(nearest, int(np.sum(label == one)))
                position[window, label == one] = seeds.position[chosen]
                coarse_begin[window, label == one] = seeds.coarse[chosen]
    return position.reshape(-1, position.shape[-1]), coarse_begin.reshape(-1, coarse_begin.shape[-1])
