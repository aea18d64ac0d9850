"""The log of a run: an event a line, as JSON, appended to `OUT/store/log.jsonl`.

Each line is written by one call, so that a kill at any instant leaves at worst an incomplete last line, which readers
skip and the next event starts after. Progress thins out as a stage goes on: a line each 2 s in its first minutes, one a
minute after some hours. A run of days writes about 0.3 MB a day.
"""

import json
import logging
import math
import os
import platform
import stat
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

LOG = "log.jsonl"
SECONDS_BETWEEN_LINES = 2.0
MOST_SECONDS_BETWEEN_LINES = 60.0
SHARE_OF_STAGE = 0.01
"""Of the time that a stage has taken: how long its progress may go without a line."""
MOST_WARNINGS = 100
MOST_CHARACTERS = 2000
MOST_LINE = 16_384
"""Bytes: longer lines are none of ours."""
MOST_READ = 4 * 2**20
"""Bytes that are read from either end of a log."""

BEGUN, RESUMED = "run begun", "run resumed"
STAGE_BEGUN, STAGE_FINISHED, STAGE_FOUND = "stage begun", "stage finished", "stage found finished"
PROGRESS, ALIVE, WARNING = "progress", "alive", "warning"
INTERRUPTED, FAILED, FINISHED = "interrupted", "failed", "finished"


class LogFile:
    """Lines appended to a file; one that cannot be written is lost, and the next that can says how many were.

    **Arguments:**

    - `path`: made with its folder when the first line is written.
    - `create`: whether to make it where it is missing.
    """

    def __init__(self, path: Path, *, create: bool = True):
        self._path, self._create = path, create
        self._descriptor: int | None = None
        self._torn, self._lost = False, 0
        self._turn = threading.Lock()

    def write(self, event: str, **values: object) -> None:
        """Append an event with the time in UTC and the reading of a clock that never jumps, in seconds."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {"time": now, "monotonic": round(time.monotonic(), 3), "event": event}
        record |= {name: _storable(value) for name, value in values.items()}
        with self._turn:
            if self._lost:
                record["lines_lost"] = self._lost
            line = json.dumps(record).encode() + b"\n"
            try:
                self._append(line)
                self._lost = 0
            except OSError as error:
                # the run is worth more than its log
                if not self._lost:
                    logging.getLogger("micromacro").warning("%s cannot be written: %s", self._path, error)
                self._lost += 1

    def close(self) -> None:
        """Let the file go; a later line opens it again."""
        with self._turn:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _append(self, line: bytes) -> None:
        if self._descriptor is None:
            self._open()
            assert self._descriptor is not None
        whole = b"\n" + line if self._torn else line
        written = os.write(self._descriptor, whole)
        if written < len(whole):
            self._torn = True
            raise OSError(f"{written} of {len(whole)} bytes were written")
        self._torn = False

    def _open(self) -> None:
        if self._create:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        # a link could lead out of the folder of the run, and a pipe would wait for its reader
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self._path, flags | (os.O_CREAT if self._create else 0), 0o644)
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(descriptor)
            raise OSError("it is no regular file")
        self._torn = state.st_size > 0 and os.pread(descriptor, 1, state.st_size - 1) != b"\n"
        self._descriptor = descriptor


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
        self.say(STAGE_BEGUN, stage=name, total=total, unit=unit, force_evaluations=evaluations)

    def stage_advanced(self, name: str, done: float, evaluations: float) -> None:
        """So many units of it are done; `evaluations` of forces were made by the whole run."""
        now, stage = time.monotonic(), self._stages[name]
        elapsed = now - stage.began
        wait = min(max(SHARE_OF_STAGE * elapsed, SECONDS_BETWEEN_LINES), MOST_SECONDS_BETWEEN_LINES)
        if now - stage.spoken < wait:
            return
        stage.spoken = now
        figures = {"done": done, "total": stage.total, "unit": stage.unit, "rate": done / elapsed}
        self.say(PROGRESS, stage=name, **figures, force_evaluations=evaluations)

    def stage_finished(self, name: str, wall_seconds: float, force_evaluations: float, *, found: bool) -> None:
        """A stage is in the store: finished now, or `found` there."""
        self._stages.pop(name, None)
        event = STAGE_FOUND if found else STAGE_FINISHED
        self.say(event, stage=name, wall_seconds=wall_seconds, force_evaluations=force_evaluations)

    def warn(self, message: str) -> None:
        """A warning; each is written once, and no more than a hundred."""
        if message not in self._warned and len(self._warned) < MOST_WARNINGS:
            self._warned.add(message)
            self.say(WARNING, message=message)

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
                self.say(ALIVE)


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
    log.say(RESUMED if resumed else BEGUN, **facts, process=os.getpid(), host=platform.node())
    try:
        with log.heard():
            yield log
    except KeyboardInterrupt as stop:
        log.say(INTERRUPTED, signal=str(stop) or "SIGINT")
        raise
    except BaseException as error:
        log.say(FAILED, message=f"{type(error).__name__}: {error}")
        raise
    finally:
        file.close()


def note_interruption(store: Path, name: str) -> None:
    """Say in the log of a run of this process that a signal of that name ends it, where the run cannot do so itself."""
    file = LogFile(store / LOG, create=False)
    file.write(INTERRUPTED, signal=name, process=os.getpid(), host=platform.node())
    file.close()


def read_events(path: Path) -> list[dict]:
    """The events of a log, oldest first; none where there is no such file.

    Of a log of more than 8 MiB those in the middle are left out. Lines that are incomplete, too long or no event are
    skipped: the values of an event may still be anything.
    """
    try:
        lines = _lines(path)
    except OSError:
        return []
    # what follows the last line break is still being written, or never was
    found = (_event(line) for line in lines[:-1])
    return [event for event in found if event is not None]


def _lines(path: Path) -> list[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            return []
        content = file.read(MOST_READ)
        if state.st_size > 2 * MOST_READ:
            file.seek(state.st_size - MOST_READ)
            content += b"\n"
        return (content + file.read(MOST_READ)).split(b"\n")


def _event(line: bytes) -> dict | None:
    if not line.startswith(b"{") or b'"event"' not in line or len(line) > MOST_LINE:
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("event"), str) else None


def _storable(value: object) -> object:
    """A value as JSON has it: numbers that are finite, and texts of bounded length."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value[:MOST_CHARACTERS]
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else None
