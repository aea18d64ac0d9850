"""One coupled round: seeds from the generator, then local dynamics and generator moves in turn."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from micromacro.coupling.moves import GeneratorMoves
from micromacro.sampling.engine import Engine, Tuning
from micromacro.sampling.production import Frames, join_frames, run_chunks
from micromacro.sampling.proposal import ConditionalProposal
from micromacro.sampling.tuning import CHUNK_STEPS, adapt
from micromacro.sampling.windows import Windows

SEED_MOVES = 5
ADAPT_CHUNKS = 4
MOST_FRAMES = 160_000
LONGEST_CYCLE = 50_000
"""Steps of a cycle at most, where memory holds the frames of more cycles: what a call did is kept when it ends."""


@dataclass(frozen=True)
class Schedule:
    """How a round spends its steps: `cycles` of (`frames` × `interval` local steps, one generator move)."""

    cycles: int
    frames: int
    interval: int

    @property
    def steps(self) -> int:
        """Local steps per walker."""
        return self.cycles * self.frames * self.interval


@dataclass(frozen=True)
class Round:
    """What a round brought.

    `frames` of all walkers; `last` positions `(windows, walkers, D)` and `tuning` to go on from; `jump` the share of
    accepted generator moves of each window, `(windows,)`; `log_weight`, log π(q)/p(q|z) of every generator draw, and
    `log_weight_before`, of the state that it was to replace, `(cycles, windows, walkers)`; `None` without moves.
    `start` `(windows, walkers)`: the starting point in whose well each walker was seeded by a generator without a
    density. `interval`: steps between two frames; `window` `(windows,)`: the window of each column of all these arrays,
    where some have copies.
    """

    frames: Frames
    last: Float[np.ndarray, "windows walkers D"]
    tuning: Tuning
    jump: Float[np.ndarray, "windows"] | None = None
    log_weight: Float[np.ndarray, "cycles windows walkers"] | None = None
    log_weight_before: Float[np.ndarray, "cycles windows walkers"] | None = None
    start: Int[np.ndarray, "windows walkers"] | None = None
    interval: int = 1
    window: Int[np.ndarray, "windows"] | None = None


def schedule_for(
    steps: int,
    cycles: int,
    batch: int,
    most_frames: int = MOST_FRAMES,
    least_interval: int = 1,
    longest_cycle: int = LONGEST_CYCLE,
) -> Schedule:
    """Divide `steps` into cycles, saving at most about `most_frames` states of the whole batch.

    Frames are `least_interval` steps apart at least, if need be in fewer cycles. Cycles of more than `longest_cycle`
    steps become more of them, as far as frames allow; the moves that are added are taken off the steps, so that the
    round costs no more.
    """
    asked = max(1, min(cycles, steps // least_interval))
    # each cycle that is added gives up a step for its move and keeps one at least
    cycles = max(asked, min(-(-steps // longest_cycle), most_frames // batch, (steps + asked) // 2))
    steps -= cycles - asked
    per_cycle = max(1, min(5, steps // (cycles * least_interval), most_frames // (batch * cycles)))
    return Schedule(cycles, per_cycle, max(1, steps // (cycles * per_cycle)))


def round_cost(windows: int, walkers: int, schedule: Schedule, *, coupled: bool) -> int:
    """Force evaluations of `coupled_round` or `local_round`."""
    moves = SEED_MOVES + schedule.cycles if coupled else 0
    return windows * walkers * (1 + ADAPT_CHUNKS * CHUNK_STEPS + schedule.steps + moves)


def coupled_round(
    engine: Engine,
    generator: ConditionalProposal,
    windows: Windows,
    positions: Float[Array, "windows walkers D"],
    tuning: Tuning,
    schedule: Schedule,
    key: Key[Array, ""],
    on_steps: Callable[[int], None] = lambda _: None,
    adapt_chunks: int = ADAPT_CHUNKS,
) -> Round:
    """Seed every walker by generator moves, burn in, then alternate local dynamics with generator moves.

    Every move leaves the window's density unchanged, so the answer does not depend on the proportions of hidden wells
    in the generator's training data; they only decide how often moves are accepted. `on_steps` is called with the local
    steps of a walker just done.
    """
    moves = GeneratorMoves(engine)
    seed_key, adapt_key, run_key = jax.random.split(key, 3)
    walkers = engine.start(windows, positions)
    for seed in range(SEED_MOVES):
        walkers, _ = moves(generator, windows, walkers, jax.random.fold_in(seed_key, seed))
    tuned = adapt(engine, windows, walkers, tuning, adapt_key, adapt_chunks, rescale=False, on_steps=on_steps)
    walkers, parts, infos = tuned.walkers, [], []
    for cycle in range(schedule.cycles):
        local_key, move_key = jax.random.split(jax.random.fold_in(run_key, cycle))
        walkers, info = moves(generator, windows, walkers, move_key)
        infos.append(jax.tree.map(np.asarray, info))
        walkers, frames = run_chunks(
            engine,
            windows,
            walkers,
            tuned.tuning,
            local_key,
            chunks=1,
            frames=schedule.frames,
            interval=schedule.interval,
            on_steps=on_steps,
        )
        parts.append(frames)
    last = np.asarray(walkers.position)
    accepted, log_weight, before = (np.stack(part) for part in zip(*infos, strict=True))
    jump, interval = accepted.mean(axis=(0, 2)), schedule.interval
    return Round(join_frames(parts), last, tuned.tuning, jump, log_weight, before, interval=interval)


def local_round(
    engine: Engine,
    windows: Windows,
    positions: Float[Array, "windows walkers D"],
    tuning: Tuning,
    schedule: Schedule,
    key: Key[Array, ""],
    *,
    exchange: bool,
    adapt_chunks: int = ADAPT_CHUNKS,
    rescale: bool = False,
    on_steps: Callable[[int], None] = lambda _: None,
) -> Round:
    """A round of local dynamics alone, with replica exchange between neighbouring windows where asked for."""
    adapt_key, run_key = jax.random.split(key)
    walkers = engine.start(windows, positions)
    tuned = adapt(engine, windows, walkers, tuning, adapt_key, adapt_chunks, rescale=rescale, on_steps=on_steps)
    walkers, frames = run_chunks(
        engine,
        windows,
        tuned.walkers,
        tuned.tuning,
        run_key,
        chunks=schedule.cycles,
        frames=schedule.frames,
        interval=schedule.interval,
        exchange=exchange,
        on_steps=on_steps,
    )
    return Round(frames, np.asarray(walkers.position), tuned.tuning, interval=schedule.interval)
