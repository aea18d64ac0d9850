"""A call of a pool as discrete events: workers that do tasks, one process that is client and scheduler."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Overhead:
    """Seconds that the process of client and scheduler needs besides the tasks.

    **Arguments:**

    - `per_call`: of every call; `per_worker`: more of it for each worker there is.
    - `send`: until a task is on its way; no task begins before all are.
    - `back`: to take in an answer.
    """

    per_call: float
    per_worker: float
    send: float
    back: float

    def begin(self, tasks: int, workers: int) -> float:
        """Until the first task begins."""
        return self.per_call + self.per_worker * workers + self.send * tasks

    def total(self, tasks: int, workers: int) -> float:
        """Of a call in all."""
        return self.begin(tasks, workers) + self.back * tasks


NONE = Overhead(0.0, 0.0, 0.0, 0.0)


def call_seconds(durations: Sequence[float], workers: int, overhead: Overhead) -> float:
    """From the beginning of a call to its end.

    Whoever is free takes the next task: the scheduler hands tasks out ahead, and those of slow workers are stolen.
    Answers are taken in one by one, in the order in which they come.
    """
    began = overhead.begin(len(durations), workers)
    free = [began] * min(workers, len(durations))
    finished = []
    for duration in durations:
        finished.append(heapq.heappop(free) + duration)
        heapq.heappush(free, finished[-1])
    end = began
    for arrival in sorted(finished):
        end = max(end, arrival) + overhead.back
    return end
