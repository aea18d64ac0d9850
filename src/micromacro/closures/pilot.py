"""The fast time of a system, looked for by a few bursts that double in length."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float, Key

from micromacro.closures.burst_paths import run_bursts
from micromacro.closures.lag_study import healing_time, memory_of, terms_at
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.euler_maruyama import Dynamics
from micromacro.systems.model import System

FIRST_STEPS = 4
TRAVELLED = 0.25
"""Root mean square displacement, as a share of the range, at which ξ has moved for good."""
STILL_SPREADING = 1.2
"""Growth of the mean square displacement while the time doubles, below which ξ has relaxed."""


@dataclass(frozen=True)
class Pilot:
    """What the pilot found.

    **Arguments:**

    - `fast_time`: in which hidden coordinates forget the start; zero where none matters, `None` where they do not.
    - `slow_time`: when ξ had relaxed or crossed a quarter of its range; `None` where that was not reached.
    - `evaluations`: force evaluations spent.
    - `reason`: in one sentence.
    """

    fast_time: float | None
    slow_time: float | None
    evaluations: int
    reason: str


def find_fast_time(
    system: System,
    coarse: CoarseVariable,
    states: Float[np.ndarray, "n D"],
    tolerance: float,
    most_steps: int,
    key: Key[jax.Array, ""],
    advance: Callable[[int], None] | None = None,
    dynamics: Dynamics | None = None,
) -> Pilot:
    """Double the length of bursts from `states` until hidden fluctuations are forgotten or ξ itself has moved.

    No burst is longer than `most_steps`; `advance` is told the force evaluations; `dynamics` simulates, this process
    where left out.
    """
    lags, memory, spreads, evaluations = [], [], [np.zeros(coarse.dimension)], 0
    displacement, elapsed, interval, first = np.zeros((len(states), coarse.dimension)), 0, FIRST_STEPS, None
    while True:
        records = np.arange(3) if first is None else np.arange(1, 3)
        key, own = jax.random.split(key)
        clusters = np.arange(len(states))
        paths = run_bursts(system, coarse, states, clusters, interval, records, 2, own, advance, dynamics)
        evaluations += paths.evaluations
        series = [terms_at(paths, i) for i in range(len(records))]
        first = first or series[0]
        for record, terms in zip((1, 2), series[-2:], strict=True):
            lags.append((elapsed + record * interval) * system.time_step)
            memory.append(float(np.max(memory_of(coarse, first, terms, lags[-1]))))
        displacement, states = displacement + paths.displacement[:, -1], paths.final
        elapsed += 2 * interval
        interval = elapsed // 2
        spreads.append(np.mean(displacement**2, axis=0) / coarse.range**2)
        moved = np.any(spreads[-1] > TRAVELLED**2)
        relaxed = len(spreads) > 4 and np.all(spreads[-1] < STILL_SPREADING * spreads[-2])
        done = moved or relaxed or 2 * elapsed > most_steps
        found = _verdict(np.array(lags), np.array(memory), len(states), tolerance, finished=bool(done))
        if found is not None or done:
            break
    slow = lags[-1] if moved or relaxed else None
    if found is None:
        return Pilot(None, slow, evaluations, _no_gap(memory[-1], lags[-1], slow))
    return Pilot(found, slow, evaluations, f"hidden coordinates forget the start in {found:.3g}")


def _verdict(lags, memory, bursts: int, tolerance: float, *, finished: bool) -> float | None:
    """The fast time once the memory has been seen to rise above and fall below the tolerance, or at the end of all."""
    seen = memory.max() > tolerance + 2 / np.sqrt(bursts)
    settled = np.all(memory[-2:] <= tolerance + 2 / np.sqrt(bursts))
    if seen and settled:
        return healing_time(np.append(0.0, lags), np.append(1.0, memory), bursts, tolerance)
    return 0.0 if finished and not seen else None


def _no_gap(left: float, lag: float, slow: float | None) -> str:
    kept = f"hidden coordinates keep {left:.0%} of their memory at lag {lag:.3g}"
    if slow is None:
        return f"{kept}, where the force evaluations for bursts end: whether time scales separate is not known"
    return f"{kept}, when ξ itself has moved or relaxed: no gap between time scales"
