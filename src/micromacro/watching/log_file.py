"""The file of a log: an event a line, as JSON, appended to `OUT/store/log.jsonl`.

Each line is written by one call, so that a kill at any instant leaves at worst an incomplete last line, which readers
skip and the next event starts after.
"""

import json
import logging
import math
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from micromacro.watching.untrusted import open_to_read, regular_size

LOG = "log.jsonl"
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
        try:
            size = regular_size(descriptor)
            self._torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor


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
    with open_to_read(path) as file:
        size = regular_size(file.fileno())
        content = file.read(MOST_READ)
        if size > 2 * MOST_READ:
            file.seek(size - MOST_READ)
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
