"""What client and scheduler cost: tasks of no work, with arguments and answers of the size that real ones have."""

import logging
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
from dask import config
from distributed import Client, LocalCluster, get_worker

from benchmarks.scaling.events import Overhead
from benchmarks.scaling.watched import Call, WatchedCluster
from micromacro.cluster.connect import SETTINGS, DaskCluster, local_cluster
from micromacro.cluster.worker import Answered, Message

FEW_TASKS = 8


class Idle:
    """A simulator that waits, and answers with so many bytes."""

    def __init__(self, answer: int):
        self._answer = answer

    def rest(self, *, seconds: float, given: np.ndarray) -> tuple[np.ndarray]:
        """Wait."""
        del given
        if seconds > 0:
            time.sleep(seconds)
        return (np.zeros(self._answer // 8),)


@dataclass(frozen=True)
class Cost:
    """Of calls with so many tasks: seconds, processor seconds of client and scheduler, seconds until a task began."""

    tasks: int
    wall: float
    processor: float
    until_first: float


def idle_answer(tasks: list[dict], *, session: str, make: bytes, told: list[Message], method: str) -> Answered:
    """In place of `worker.answer`, for workers in one process: they share a simulator that does a task at a time."""
    del session, make, told, method
    began = time.monotonic()
    answers = [Idle(task["answer"]).rest(seconds=task["seconds"], given=task["given"]) for task in tasks]
    return Answered(answers, time.monotonic() - began, get_worker().address)


@contextmanager
def threaded_cluster(workers: int) -> Iterator[DaskCluster]:
    """Many workers in this process, each with a thread and a connection of its own."""
    with (
        patch("micromacro.cluster.pool.answer", idle_answer),
        config.set(SETTINGS),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=False,
            protocol="tcp",
            # each would take the memory of all for its own
            memory_limit=0,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, direct_to_workers=True, set_as_default=False) as client,
    ):
        yield DaskCluster(client)


def rested(watched: WatchedCluster, tasks: int, seconds: float, given: int, answer: int) -> tuple[Call, float]:
    """One call with tasks that only wait, and the processor seconds of this process."""
    pool = watched.pools[0] if watched.pools else watched.pool(partial(Idle, answer))
    arguments = [{"seconds": seconds, "given": np.zeros(given // 8)} for _ in range(tasks)]
    if threaded(watched.cluster):
        arguments = [one | {"answer": answer} for one in arguments]
    used = time.process_time()
    pool.run("rest", arguments, [str(number) for number in range(tasks)])
    return pool.calls[-1], time.process_time() - used


def threaded(cluster: DaskCluster) -> bool:
    """Whether the workers are in this process."""
    return cluster.client.cluster is not None and not cluster.client.cluster.processes


def costs(watched: WatchedCluster, tasks: int, given: int, answer: int, repeats: int) -> Cost:
    """Medians over calls; the first, which sends the simulator, is left out."""
    rested(watched, FEW_TASKS, 0.0, given, answer)
    found = [rested(watched, tasks, 0.0, given, answer) for _ in range(repeats)]
    middle: Callable[[Any], float] = statistics.median
    return Cost(
        tasks,
        middle([call.seconds for call, _ in found]),
        middle([used for _, used in found]),
        middle([call.until_first for call, _ in found]),
    )


def measure(given: int, answer: int, real: list[int], many: list[int], tasks: int, repeats: int) -> dict[int, Overhead]:
    """Print what a task costs by number of workers; the overhead of calls for each."""
    print(f"\ntasks of no work, {given / 1e3:.0f} kB there and {answer / 1e3:.0f} kB back, in milliseconds")
    print(f"{'workers':>28}{'call':>8}{'task':>8}{'sent':>8}{'back':>8}{'processor of a task':>22}")
    found = {}
    for count in [*real, *many]:
        start = local_cluster if count in real else threaded_cluster
        # each task is a message of its own here, for messages are what costs
        with patch("micromacro.cluster.pool.BUNDLES", 10**6), start(count) as cluster:
            watched = WatchedCluster(cluster)
            few, more = (costs(watched, number, given, answer, repeats) for number in (FEW_TASKS, tasks))
        found[count] = _fitted(few, more)
        one, where = found[count], "processes" if count in real else "in one process"
        used = (more.processor - few.processor) / (more.tasks - few.tasks)
        figures = (one.per_call, one.send + one.back, one.send, one.back)
        line = "".join(f"{1e3 * figure:8.2f}" for figure in figures)
        print(f"{count:>12} {where:>15}{line}{1e3 * used:22.2f}", flush=True)
    return found


def _fitted(few: Cost, more: Cost) -> Overhead:
    """A straight line through both numbers of tasks."""
    difference = more.tasks - few.tasks
    task, sent = (more.wall - few.wall) / difference, (more.until_first - few.until_first) / difference
    return Overhead(max(0.0, few.wall - task * few.tasks), 0.0, max(0.0, sent), max(0.0, task - max(0.0, sent)))


def grown(found: dict[int, Overhead], real: int, many: list[int]) -> Overhead:
    """The overhead with `real` workers, whose calls grow with workers as they do from few to many in one process."""
    base = found[real]
    if len(many) < 2:
        return base
    slope = np.polyfit(many, [found[count].per_call for count in many], 1)[0]
    return Overhead(base.per_call, max(0.0, float(slope)), base.send, base.back)
