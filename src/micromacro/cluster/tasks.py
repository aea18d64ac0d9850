"""Tasks on their way: what each asks, how often it failed and where, and when it is given up."""

from dataclasses import dataclass, field

import numpy as np

from micromacro.errors import ClusterError
from micromacro.sampling.pool import Answer

ATTEMPTS = 3
"""Of a task that fails or whose answer is not a number."""
LOSSES = 20
"""Times that a task may go down with a worker that ends: it need not be to blame."""
SHOWN = 8


@dataclass
class Task:
    """A task under way; `avoid` holds the workers that it went wrong on, `poor` an answer that is not finite."""

    number: int
    arguments: dict
    label: str
    failures: list[str] = field(default_factory=list)
    losses: int = 0
    avoid: set[str] = field(default_factory=set)
    poor: Answer | None = None

    @property
    def hopeless(self) -> bool:
        """Whether it has been tried often enough."""
        return len(self.failures) >= ATTEMPTS or self.losses >= LOSSES


Bundle = list[Task]
"""Tasks that travel together; what goes wrong with one of several says nothing of any, and they travel alone then."""


def note_failure(bundle: Bundle, failure: Exception | str) -> None:
    """Blame the task of a bundle; one of several is tried alone before it is blamed."""
    if isinstance(failure, Exception):
        failure = f"{type(failure).__name__}: {(str(failure).strip().splitlines() or [''])[0]}"
    if len(bundle) == 1:
        bundle[0].failures.append(failure)


def note_loss(bundle: Bundle, how: str) -> None:
    """A worker ended with tasks."""
    for task in bundle:
        task.losses += 1
        if task.losses == LOSSES:
            task.failures.append(f"its worker ended {LOSSES} times ({how})")


def believed(bundle: Bundle, answers: list[Answer], worker: str) -> list[tuple[Task, Answer]]:
    """Tasks with their answers, but for those that are not finite for the first time: another worker is to try."""
    found = []
    for task, answer in zip(bundle, answers, strict=True):
        if _finite(answer) or task.poor is not None:
            found.append((task, answer))
        else:
            task.poor = answer
            task.avoid.add(worker)
    return found


def _finite(found: Answer) -> bool:
    arrays = [part for part in (found if isinstance(found, tuple) else (found,)) if isinstance(part, np.ndarray)]
    return all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f")


def failure_of(method: str, failed: list[Task]) -> ClusterError:
    """The error that names tasks that failed everywhere."""
    where = ", ".join(task.label for task in failed[:SHOWN]) + (" and others" if len(failed) > SHOWN else "")
    return ClusterError(
        f"{where}: {method} failed {len(failed[0].failures)} times, last: {failed[0].failures[-1]}. "
        "All others are done and kept. See the log of the workers, and go on with --resume; with a longer "
        "--task-timeout where tasks take that long."
    )
