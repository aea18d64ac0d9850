"""Progress of long work: a bar with a rate on a terminal, a plain line now and then elsewhere, or nothing."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol, cast, runtime_checkable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

SECONDS_BETWEEN_LINES = 5.0


@runtime_checkable
class Stream(Protocol):
    """What can be written to."""

    def write(self, text: str, /) -> object:
        """Write a text."""
        ...

    def flush(self) -> object:
        """Show at once what was written."""
        ...

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        ...


@runtime_checkable
class Stage(Protocol):
    """One stage of the work while it runs."""

    def advance(self, amount: float = 1) -> None:
        """Say that so many more units are done."""
        ...


@dataclass(frozen=True)
class Progress:
    """Shows how far the work is.

    **Arguments:**

    - `quiet`: show nothing.
    - `stream`: where to show it; standard error unless said. A bar is drawn only where it is a terminal.

    ```python
    with progress.stage("bias", total=24 * 64 * 4000, unit="walker-steps") as stage:
        stage.advance(64 * 4000)
    ```
    """

    quiet: bool = False
    stream: Stream | None = None

    @contextmanager
    def stage(self, name: str, *, total: float | None = None, unit: str = "steps") -> Iterator[Stage]:
        """Show one stage from its start to its end.

        **Arguments:**

        - `name`: what is being done.
        - `total`: how many units it takes, where that is known.
        - `unit`: of `total` and of what `advance` is given.
        """
        stream = self.stream or sys.stderr
        if self.quiet:
            yield _SilentStage()
        elif stream.isatty():
            with _bar(stream) as bar:
                yield _BarStage(bar, name, total, unit)
        else:
            stage = _PlainStage(stream, name, total, unit)
            yield stage
            stage.finish()


class _SilentStage:
    """A stage nobody watches."""

    def advance(self, amount: float = 1) -> None:
        """Do nothing."""


class _PlainStage:
    """A stage told in whole lines, for logs: at most one every few seconds, and one at its end."""

    def __init__(self, stream: Stream, name: str, total: float | None, unit: str):
        self._stream, self._name, self._total, self._unit = stream, name, total, unit
        self._done = 0.0
        self._started = self._spoken = time.monotonic()

    def advance(self, amount: float = 1) -> None:
        """Count, and write a line if the last one is old enough."""
        self._done += amount
        now = time.monotonic()
        if now - self._spoken >= SECONDS_BETWEEN_LINES:
            self._spoken = now
            share = f" ({self._done / self._total:.0%})" if self._total else ""
            self._write(f"{_short(self._done)} {self._unit}{share}, {self._rate(now)}")

    def finish(self) -> None:
        """Write the last line."""
        now = time.monotonic()
        self._write(f"done in {now - self._started:.1f} s, {_short(self._done)} {self._unit}, {self._rate(now)}")

    def _rate(self, now: float) -> str:
        return f"{_short(self._done / max(now - self._started, 1e-9))} {self._unit}/s"

    def _write(self, text: str) -> None:
        print(f"{self._name}: {text}", file=self._stream, flush=True)


class _BarStage:
    """A stage drawn as a bar."""

    def __init__(self, bar: "RichProgress", name: str, total: float | None, unit: str):
        self._bar, self._unit = bar, unit
        self._started = time.monotonic()
        self._task = bar.add_task(name, total=total, rate="")

    def advance(self, amount: float = 1) -> None:
        """Move the bar and renew the rate."""
        done = self._bar.tasks[0].completed + amount
        rate = done / max(time.monotonic() - self._started, 1e-9)
        self._bar.update(self._task, advance=amount, rate=f"{_short(rate)} {self._unit}/s")


def _bar(stream: Stream) -> "RichProgress":
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    return RichProgress(*columns, console=Console(file=cast(IO[str], stream)))


def _short(number: float) -> str:
    """A number in three digits with its thousands as a letter.

    >>> _short(64000.0)
    '64k'
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
