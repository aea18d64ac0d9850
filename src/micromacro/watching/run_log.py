"""What a run says of itself while it runs.

Progress thins out as a stage goes on: a line each 2 s in its first minutes, one a minute after a hundred minutes. A run
of days writes about 0.3 MB a day.
"""

import os
import platform
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from micromacro.watching import log_file
from micromacro.watching.log_file import LOG, LogFile

SECONDS_BETWEEN_LINES = 2.0
MOST_SECONDS_BETWEEN_LINES = 60.0
SHARE_OF_STAGE = 0.01
"""Of the time that a stage has taken: how long its progress may go without a line."""
MOST_WARNINGS = 100


@dataclass
class _Stage:
    """One that is under way: what it takes, and when it began and was last written of."""

    total: float | None
    unit: str
    began: float
    spoken: float


class RunLog:
    """What a run says of itself while it runs; a listener of `micromacro.progress.Progress`."""

    def __init__(self, file: LogFile):
        self._file = file
        self._stages: dict[str, _Stage] = {}
        self._warned: set[str] = set()
        self._spoken = time.monotonic()
        self._over = threading.Event()

    def say(self, event: str, **values: object) -> None:
        """Write an event."""
        self._spoken = time.monotonic()
        self._file.write(event, **values)

    def stage_begun(self, name: str, total: float | None, unit: str, evaluations: float) -> None:
        """A stage is computed from now on; `evaluations` of forces were made before it."""
        now = time.monotonic()
        self._stages[name] = _Stage(total, unit, now, now)
        self.say(log_file.STAGE_BEGUN, stage=name, total=total, unit=unit, force_evaluations=evaluations)

    def stage_advanced(self, name: str, done: float, evaluations: float) -> None:
        """So many units of it are done; `evaluations` of forces were made by the whole run."""
        now, stage = time.monotonic(), self._stages[name]
        elapsed = now - stage.began
        wait = min(max(SHARE_OF_STAGE * elapsed, SECONDS_BETWEEN_LINES), MOST_SECONDS_BETWEEN_LINES)
        if now - stage.spoken < wait:
            return
        stage.spoken = now
        figures = {"done": done, "total": stage.total, "unit": stage.unit, "rate": done / elapsed}
        self.say(log_file.PROGRESS, stage=name, **figures, force_evaluations=evaluations)

    def stage_finished(self, name: str, wall_seconds: float, force_evaluations: float, *, found: bool) -> None:
        """A stage is in the store: finished now, or `found` there."""
        self._stages.pop(name, None)
        event = log_file.STAGE_FOUND if found else log_file.STAGE_FINISHED
        self.say(event, stage=name, wall_seconds=wall_seconds, force_evaluations=force_evaluations)

    def warn(self, message: str) -> None:
        """A warning; each is written once, and no more than a hundred."""
        if message not in self._warned and len(self._warned) < MOST_WARNINGS:
            self._warned.add(message)
            self.say(log_file.WARNING, message=message)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Take Python's warnings down, and a sign of life each minute in which nothing else is written."""
        shown = warnings.showwarning

        def show(message, category, *place, **options) -> None:
            self.warn(f"{category.__name__}: {message}")
            shown(message, category, *place, **options)

        thread = threading.Thread(target=self._stay_alive, name="run log", daemon=True)
        warnings.showwarning = show
        thread.start()
        try:
            yield
        finally:
            warnings.showwarning = shown
            self._over.set()

    def _stay_alive(self) -> None:
        while not self._over.wait(MOST_SECONDS_BETWEEN_LINES):
            if time.monotonic() - self._spoken >= MOST_SECONDS_BETWEEN_LINES:
                self.say(log_file.ALIVE)


@contextmanager
def recorded(store: Path, *, resumed: bool, **facts: object) -> Iterator[RunLog]:
    """Keep the log of a run from here to its end, however that comes.

    **Arguments:**

    - `store`: the folder of the store.
    - `resumed`: whether it goes on with what is there.
    - `facts`: of the run, for its first line.
    """
    file = LogFile(store / LOG)
    log = RunLog(file)
    log.say(log_file.RESUMED if resumed else log_file.BEGUN, **facts, process=os.getpid(), host=platform.node())
    try:
        with log.heard():
            yield log
    except KeyboardInterrupt as stop:
        log.say(log_file.INTERRUPTED, signal=str(stop) or "SIGINT")
        raise
    except BaseException as error:
        log.say(log_file.FAILED, message=f"{type(error).__name__}: {error}")
        raise
    finally:
        file.close()


def note_interruption(store: Path, name: str) -> None:
    """Say in the log of a run of this process that a signal of that name ends it, where the run cannot do so itself."""
    file = LogFile(store / LOG, create=False)
    file.write(log_file.INTERRUPTED, signal=name, process=os.getpid(), host=platform.node())
    file.close()
