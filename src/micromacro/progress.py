"""Progress of long work: a bar with a rate on a terminal, a plain line now and then elsewhere, or nothing."""

import sys
import time
from collections.abc import Callable, Iterator
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


@runtime_checkable
class Listener(Protocol):
    """Somebody else who is told of every stage, such as the log of a run."""

    def stage_begun(self, name: str, total: float | None, unit: str, evaluations: float) -> None:
        """A stage is computed from now on; `evaluations` of forces were made before it."""
        ...

    def stage_advanced(self, name: str, done: float, evaluations: float) -> None:
        """So many units of it are done; `evaluations` of forces were made by the whole run."""
        ...

    def stage_finished(self, name: str, wall_seconds: float, force_evaluations: float, *, found: bool) -> None:
        """A stage is in the store: finished now, or `found` there."""
        ...


@dataclass(frozen=True)
class Progress:
    """Shows how far the work is.

    **Arguments:**

    - `quiet`: show nothing.
    - `stream`: where to show it; standard error unless said. A bar is drawn only where it is a terminal.
    - `listener`: is told as well, whether it is shown or not.

    ```python
    with progress.stage("bias", total=24 * 64 * 4000, unit="walker-steps") as stage:
        stage.advance(64 * 4000)
    ```
    """

    quiet: bool = False
    stream: Stream | None = None
    listener: Listener | None = None

    @contextmanager
    def stage(
        self,
        name: str,
        *,
        total: float | None = None,
        unit: str = "steps",
        evaluations: Callable[[], float] = lambda: 0,
    ) -> Iterator[Stage]:
        """Show one stage from its start to its end.

        **Arguments:**

        - `name`: what is being done.
        - `total`: how many units it takes, where that is known.
        - `unit`: of `total` and of what `advance` is given.
        - `evaluations`: how many force evaluations the whole run has made, for the listener.
        """
        with self._shown(name, total, unit) as shown:
            if self.listener is None:
                yield shown
            else:
                self.listener.stage_begun(name, total, unit, evaluations())
                yield _HeardStage(shown, self.listener, name, evaluations)

    def finished(self, name: str, *, wall_seconds: float, force_evaluations: float, found: bool) -> None:
        """Tell the listener that a stage is in the store: finished now, or `found` there."""
        if self.listener is not None:
            self.listener.stage_finished(name, wall_seconds, force_evaluations, found=found)

    @contextmanager
    def _shown(self, name: str, total: float | None, unit: str) -> Iterator[Stage]:
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


class _HeardStage:
    """A stage that a listener is told of too."""

    def __init__(self, shown: Stage, listener: Listener, name: str, evaluations: Callable[[], float]):
        self._shown, self._listener, self._name, self._evaluations = shown, listener, name, evaluations
        self._done = 0.0

    def advance(self, amount: float = 1) -> None:
        """Show it and tell the listener."""
        self._shown.advance(amount)
        self._done += amount
        self._listener.stage_advanced(self._name, self._done, self._evaluations())


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
            self._write(f"{short_number(self._done)} {self._unit}{share}, {self._rate(now)}")

    def finish(self) -> None:
        """Write the last line."""
        now = time.monotonic()
        self._write(f"done in {now - self._started:.1f} s, {short_number(self._done)} {self._unit}, {self._rate(now)}")

    def _rate(self, now: float) -> str:
        return f"{short_number(self._done / max(now - self._started, 1e-9))} {self._unit}/s"

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
        self._bar.update(self._task, advance=amount, rate=f"{short_number(rate)} {self._unit}/s")


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


def short_number(number: float) -> str:
    """A number in three digits with its thousands as a letter.

    >>> short_number(64000.0)
    '64k'
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
