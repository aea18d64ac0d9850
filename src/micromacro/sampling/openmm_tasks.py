"""Work on many walkers cut into tasks for worker processes, the same however many processes there are."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, UInt

MOST_TASKS = 64
LEAST_WORK = 40_000
"""Steps times atoms in one task at least: making a task ready costs a fraction of a millisecond."""
LARGEST_SEED = 2**31 - 1


def slices(walkers: int, atoms: int, steps: int) -> list[slice]:
    """Consecutive walkers of each task, given the steps of each walker."""
    size = max(-(-walkers // MOST_TASKS), -(-LEAST_WORK // (atoms * steps)))
    return [slice(first, min(first + size, walkers)) for first in range(0, walkers, size)]


def seeds(entropy: UInt[np.ndarray, "..."], count: int) -> list[int]:
    """Seeds from 1 on, for OpenMM takes 0 as a wish for chance."""
    rng = np.random.default_rng(np.random.SeedSequence([int(word) for word in np.ravel(entropy)]))
    return rng.integers(1, LARGEST_SEED, count).tolist()


def advance_tasks(
    kind: str,
    positions: Float[np.ndarray, "walkers D"],
    parameters: Float[np.ndarray, "walkers parameters"],
    entropy: UInt[np.ndarray, "..."],
    frames: int,
    interval: int,
) -> Iterator[dict]:
    """Arguments of `Simulator.advance`, one set for each task."""
    walkers, dimension = positions.shape
    drawn = seeds(entropy, 2 * walkers)
    for part in slices(walkers, dimension // 3, frames * interval):
        yield {
            "kind": kind,
            "seed": drawn[walkers + part.start],
            "velocity_seeds": drawn[:walkers][part],
            "positions": positions[part],
            "parameters": parameters[part],
            "frames": frames,
            "interval": interval,
        }
