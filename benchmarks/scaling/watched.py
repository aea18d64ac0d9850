"""A cluster that notes what an engine asks of it: tasks, their sizes and times, and the time of each call."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from distributed import Client, get_task_stream

from micromacro.cluster.connect import DaskCluster
from micromacro.sampling.pool import Answer, Pool, nothing


@dataclass(frozen=True)
class Call:
    """One call of a pool: seconds in all, until the first message began and of each; bytes of one both ways.

    A message holds a few tasks.
    """

    seconds: float
    until_first: float
    durations: tuple[float, ...]
    sent: float
    returned: float


@dataclass
class WatchedPool:
    """A pool of which every call is noted while `watching`, which costs some milliseconds a call.

    `told` and `first` are what its simulators heard and the last first task.
    """

    inner: Pool
    client: Client
    make: Callable[[], Any]
    calls: list[Call] = field(default_factory=list)
    told: list[tuple[str, dict]] = field(default_factory=list)
    first: tuple[str, dict] | None = None
    watching: bool = True

    def run(
        self,
        method: str,
        tasks: Sequence[dict],
        labels: Sequence[str],
        done: Callable[[int, Answer], None] = nothing,
    ) -> list[Answer]:
        """The answers of the pool itself."""
        self.first = method, tasks[0]
        if not self.watching:
            return self.inner.run(method, tasks, labels, done)
        began, clock = time.time(), time.perf_counter()
        with get_task_stream(self.client) as stream:
            answers = self.inner.run(method, tasks, labels, done)
            seconds = time.perf_counter() - clock
        work = [
            (span["start"], span["stop"])
            for task in stream.data  # type: ignore[union-attr]
            for span in task["startstops"]
            if span["action"] == "compute"
        ]
        durations = tuple(stop - start for start, stop in work)
        first = min(start for start, _ in work) - began
        there, back = (size(list(one)) / len(durations) for one in (tasks, answers))
        self.calls.append(Call(seconds, first, durations, there, back))
        return answers

    def everywhere(self, method: str, arguments: dict) -> None:
        """As the pool."""
        self.told.append((method, arguments))
        self.inner.everywhere(method, arguments)

    def forget(self, method: str, kind: str) -> None:
        """As the pool."""
        self.told = [one for one in self.told if one[0] != method or one[1]["kind"] != kind]
        self.inner.forget(method, kind)

    def close(self) -> None:
        """As the pool."""
        self.inner.close()


@dataclass
class WatchedCluster:
    """The workers of a cluster, whose pools are watched."""

    cluster: DaskCluster
    pools: list[WatchedPool] = field(default_factory=list)

    def pool(self, make: Callable[[], Any]) -> WatchedPool:
        """A watched pool."""
        self.pools.append(WatchedPool(self.cluster.pool(make), self.cluster.client, make))
        return self.pools[-1]


def size(arrays: Any) -> float:
    """Bytes of all arrays."""
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(arrays) if not isinstance(leaf, (str, bytes)))
