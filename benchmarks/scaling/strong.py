"""Strong scaling: the same calls by one worker and by two, of one core each, in alternation."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask import config
from distributed import Client

from benchmarks.scaling.watched import Call, WatchedCluster, WatchedPool
from benchmarks.scaling.workloads import Workload
from micromacro.cluster.connect import DaskCluster, local_cluster

PINNED = {"distributed.worker.preload": ["benchmarks.scaling.pinning"]}
SECONDS_OF_CEILING = 3.0


@dataclass(frozen=True)
class Measured:
    """Seconds of every repeat, and of one more in which the calls of pools were watched, by number of workers."""

    seconds: dict[int, list[float]]
    watched: dict[int, float]
    calls: dict[int, list[Call]]
    ceiling: float

    @property
    def ratios(self) -> list[float]:
        """Of the times of one worker and of two, of each repeat."""
        return [one / two for one, two in zip(self.seconds[1], self.seconds[2], strict=True)]


@contextmanager
def pinned_cluster(workers: int) -> Iterator[DaskCluster]:
    """A local cluster of the library, of one core for each worker."""
    with config.set(PINNED), local_cluster(workers) as cluster:
        cores = list(cluster.client.run(_cores).values())  # type: ignore[union-attr]
        if sorted(map(len, cores)) != [1] * workers or len({core for (core,) in cores}) != workers:
            raise SystemExit(f"{workers} workers need a core each; they are on {cores}")
        yield cluster


def measure(workload: Workload, wanted: float, repeats: int) -> Measured:
    """Time as many calls in each repeat as one worker does in `wanted` seconds, once everything is compiled."""
    print(f"\n{workload.described()}, {workload.walker_steps:,} walker-steps a call")
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with ExitStack() as stack:
        watched = {count: WatchedCluster(stack.enter_context(pinned_cluster(count))) for count in seconds}
        ready: dict[int, Callable[[int], None]] = {}
        for count, cluster in watched.items():
            began = time.perf_counter()
            ready[count] = workload.ready(cluster)
            ready[count](0)
            print(f"  {count} worker(s): start, compilation and the first call {time.perf_counter() - began:.1f} s")
            cluster.pools[0].calls.clear()
            cluster.pools[0].watching = False
        calls = max(1, round(wanted / _timed(ready[1], 1, 1)))
        print(f"  {calls} calls a repeat", flush=True)
        for repeat in range(repeats):
            for count, call in ready.items():
                seconds[count].append(_timed(call, 1 + repeat * calls, calls))
        looked_at = {}
        for count, call in ready.items():
            watched[count].pools[0].watching = True
            looked_at[count] = _timed(call, 1 + repeats * calls, calls)
        top = ceiling(watched[2].cluster.client, watched[2].pools[0])
    return Measured(seconds, looked_at, {count: cluster.pools[0].calls for count, cluster in watched.items()}, top)


def _timed(call: Callable[[int], None], first: int, calls: int) -> float:
    began = time.perf_counter()
    for number in range(first, first + calls):
        call(number)
    return time.perf_counter() - began


def ceiling(client: Client, pool: WatchedPool) -> float:
    """How much faster two cores do one task again and again than one core while the other rests: 2 at best."""
    assert pool.first is not None
    workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
    work = (pool.make, pool.told, *pool.first)
    client.gather([client.submit(_rate, *work, workers=[one], pure=False) for one in workers])
    alone = [client.submit(_rate, *work, workers=[one], pure=False).result() for one in workers]
    both = [client.submit(_rate, *work, workers=[one], pure=False) for one in workers]
    together = [future.result() for future in both]
    return float(np.sum(together) / np.mean(alone))


def table(measured: Measured, required: float) -> bool:
    """Print the figures; whether the median ratio is as large as it must be."""
    for count, times in measured.seconds.items():
        calls = measured.calls[count]
        tasks = [duration for call in calls for duration in call.durations]
        outside = 1 - sum(call.seconds for call in calls) / measured.watched[count]
        print(
            f"  {count} worker(s): {statistics.median(times):.3f} s (best {min(times):.3f}); "
            f"{len(tasks) / len(calls):.0f} messages a call "
            f"of {1e3 * np.mean(tasks):.1f} ± {1e3 * np.std(tasks):.1f} ms, "
            f"{calls[0].sent / 1e3:.0f} kB there and {calls[0].returned / 1e3:.0f} kB back; "
            f"{100 * outside:.0f} % of the time outside of the pool"
        )
    ratios, best = sorted(measured.ratios), min(measured.seconds[1]) / min(measured.seconds[2])
    median = statistics.median(ratios)
    print(
        f"  ratio {median:.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} repeats), of the best "
        f"times {best:.2f}; required {required}; this cut into tasks allows {evenness(measured.calls[2]):.2f}, "
        f"these cores {measured.ceiling:.2f}"
    )
    return median >= required


def evenness(calls: list[Call]) -> float:
    """The ratio of one worker to two if nothing but the tasks took time, each as it was measured."""
    return float(np.mean([sum(call.durations) / _longest(call.durations, 2) for call in calls]))


def _longest(durations: tuple[float, ...], workers: int) -> float:
    busy = np.zeros(workers)
    for duration in durations:
        busy[np.argmin(busy)] += duration
    return float(busy.max())


def _rate(make: Callable[[], Any], told: list[tuple[str, dict]], method: str, arguments: dict) -> float:
    """Tasks per second of a simulator, in a worker; what it does first is not counted."""
    simulator = make()
    for name, settings in told:
        getattr(simulator, name)(**settings)
    task = getattr(simulator, method)
    task(**arguments)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS_OF_CEILING:
        task(**arguments)
        count += 1
    return count / (time.perf_counter() - began)


def _cores() -> list[int]:
    import psutil

    return psutil.Process().cpu_affinity() or []
