"""Tasks done by threads of this process, for simulators that let other threads run while they compute."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import jax
from joblib import cpu_count

from micromacro.sampling.pool import Answer, Cluster, Pool, nothing


class Threads:
    """So many threads, as many as cores or devices by default, that share one simulator.

    The simulator's `stopped` is set where the work is broken off, such as by Ctrl-C: it is to end its tasks soon.
    """

    def __init__(self, simulator: Any, count: int | None = None):
        self._simulator, self._count = simulator, count or max(cpu_count(), jax.local_device_count())

    def run(
        self,
        method: str,
        tasks: Sequence[dict],
        labels: Sequence[str],
        done: Callable[[int, Answer], None] = nothing,
    ) -> list[Answer]:
        """The answers to all tasks, in their order."""
        del labels
        answer, stopped = getattr(self._simulator, method), self._simulator.stopped
        stopped.clear()
        if len(tasks) == 1:
            answers = [answer(**tasks[0])]
            done(0, answers[0])
            return answers
        with ThreadPoolExecutor(self._count, thread_name_prefix="walkers") as threads:
            futures = {threads.submit(answer, **task): number for number, task in enumerate(tasks)}
            try:
                for future in as_completed(futures):
                    done(futures[future], future.result())
            except BaseException:
                stopped.set()
                threads.shutdown(wait=False, cancel_futures=True)
                raise
            return [future.result() for future in futures]

    def everywhere(self, method: str, arguments: dict) -> None:
        """Call a method of the simulator."""
        getattr(self._simulator, method)(**arguments)

    def forget(self, method: str, kind: str) -> None:
        """Nothing to drop: there is one simulator, and it has been told."""

    def close(self) -> None:
        """Nothing to end."""


def pool_of(make: Callable[[], Any], cluster: Cluster | None = None) -> Pool:
    """Threads that share what `make` makes, or the workers of a cluster, which have one each."""
    return Threads(make()) if cluster is None else cluster.pool(make)
