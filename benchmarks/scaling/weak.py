"""Weak scaling by discrete events, held against real calls first."""

import statistics
from collections.abc import Sequence

import numpy as np

from benchmarks.scaling.events import NONE, Overhead, call_seconds
from benchmarks.scaling.overhead import rested, threaded_cluster
from benchmarks.scaling.watched import Call, WatchedCluster

WORKERS = (1, 2, 10, 20, 50, 100, 200, 500, 1000)
MOST_WORKERS = 1_000_000
HALF = 0.5
SIMULATED_CALLS = 20


def durations_of(recorded: Sequence[float], count: int, rng: np.random.Generator) -> list[float]:
    """So many task times, drawn from recorded ones."""
    return rng.choice(recorded, count).tolist()


def simulated(recorded: Sequence[float], tasks: int, workers: int, overhead: Overhead) -> float:
    """Mean seconds of a call with tasks of recorded times."""
    rng = np.random.default_rng([tasks, workers])
    calls = [
        call_seconds(durations_of(recorded, tasks, rng), workers, overhead)
        for _ in range(1 if workers > max(WORKERS) else SIMULATED_CALLS)
    ]
    return float(np.mean(calls))


def efficiency(recorded: Sequence[float], per_worker: int, workers: int, overhead: Overhead) -> float:
    """Share of the time of a call in which workers do tasks, with so many tasks for each."""
    ideal = per_worker * float(np.mean(recorded))
    return ideal / simulated(recorded, per_worker * workers, workers, overhead)


def saturation(recorded: Sequence[float], per_worker: int, overhead: Overhead) -> int:
    """The number of workers from which on their efficiency is below one half; 0 where it never is above."""
    below = 0
    while below < MOST_WORKERS and efficiency(recorded, per_worker, max(1, 2 * below), overhead) >= HALF:
        below = max(1, 2 * below)
    above = max(1, 2 * below)
    while above - below > max(1, below // 50):
        middle = (below + above) // 2
        if efficiency(recorded, per_worker, middle, overhead) >= HALF:
            below = middle
        else:
            above = middle
    return below


def table(name: str, recorded: Sequence[float], per_worker: int, windows_per_task: float, overhead: Overhead) -> None:
    """Print a row for each number of workers, and where it saturates."""
    mean = 1e3 * float(np.mean(recorded))
    print(
        f"\n{name}: tasks of {mean:,.0f} ms, {per_worker} a worker and call, "
        f"{windows_per_task * per_worker:.2g} windows a worker"
    )
    print(f"{'workers':>9}{'windows':>9}{'call, s':>10}{'efficiency':>12}{'without overhead':>18}{'ms a window':>13}")
    for workers in WORKERS:
        tasks = per_worker * workers
        windows = windows_per_task * tasks
        seconds = simulated(recorded, tasks, workers, overhead)
        share, even = (efficiency(recorded, per_worker, workers, one) for one in (overhead, NONE))
        cost = 1e3 * overhead.total(tasks, workers) / windows
        print(f"{workers:9,}{windows:9,.0f}{seconds:10.3f}{share:12.2f}{even:18.2f}{cost:13.2f}")
    print(f"half of the time is lost from {saturation(recorded, per_worker, overhead):,} workers on")


def held_against(name: str, calls: Sequence[Call], workers: int, overhead: Overhead) -> float:
    """Print and return the ratio of simulated to real seconds of calls, each with its own task times."""
    real = statistics.median(call.seconds for call in calls)
    found = statistics.median(call_seconds(call.durations, workers, overhead) for call in calls)
    print(
        f"  {name}, {workers} workers: a call takes {real:.3f} s, simulated {found:.3f} s: {found / real:.2f}",
        flush=True,
    )
    return found / real


def validate_resting(
    many: Sequence[int], sizes: tuple[int, int], found: dict[int, Overhead], seconds: float, repeats: int
) -> None:
    """Hold the simulation against workers in this process that wait, two tasks each."""
    for workers in many:
        with threaded_cluster(workers) as cluster:
            watched = WatchedCluster(cluster)
            for _ in range(repeats + 1):
                rested(watched, 2 * workers, seconds, *sizes)
            calls = watched.pools[0].calls[1:]
        held_against(f"waiting {seconds:g} s", calls, workers, found[workers])
