"""What a peer reads and writes, and how it is timed; it runs in an environment of its own, without our library."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

SAMPLES = 10_000  # drawn at once when draws are timed


class Task(NamedTuple):
    """Pairs `q (n, Y)`, `z (n, d)`, conditions to draw at `held_out (m, d)`, ends of the state `(Y,)`, a seed."""

    q: np.ndarray
    z: np.ndarray
    held_out: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    seed: int


Sampler = Callable[[np.ndarray, int], np.ndarray]  # (z (d,), count) to (count, Y)


Train = Callable[[Task, argparse.Namespace], Sampler]


def main(methods: dict[str, Train], plan: Callable[[Task, float], int] | None = None) -> None:
    """Train the method asked for on a file of pairs and write its draws and its seconds.

    `plan` turns seconds of training into a number of steps, before the clock starts.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=methods)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--effort", type=int, help="epochs or steps instead of the peer's own choice")
    parser.add_argument("--seconds", type=float, default=600.0, help="of training, for peers that know no end")
    asked = parser.parse_args()
    with np.load(asked.pairs) as file:
        arrays = [file[name] for name in ("q", "z", "held_out", "lower", "upper")]
    task = Task(*arrays, seed=asked.seed)
    if plan and asked.effort is None:
        asked.effort = plan(task, asked.seconds)
    start = time.perf_counter()
    sampler = methods[asked.method](task, asked)
    training = time.perf_counter() - start
    states, seconds = _draws(sampler, task)
    cold, warm = seconds[0], float(np.median(seconds[1:]))
    np.savez(asked.out, states=states, training_seconds=training, sampling_seconds=warm, sampling_cold_seconds=cold)


def _draws(sampler: Sampler, task: Task) -> tuple[np.ndarray, list[float]]:
    """States `(m, SAMPLES, Y)` and seconds, those of a first call before all others."""
    states, seconds = [], []
    for z in [task.held_out[0], *task.held_out]:
        start = time.perf_counter()
        states.append(np.asarray(sampler(z, SAMPLES)))
        seconds.append(time.perf_counter() - start)
    return np.stack(states[1:]), seconds
