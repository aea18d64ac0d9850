"""Signals that end a run: it unwinds as after Ctrl-C, or, where it cannot in time, ends all the same.

Python answers a signal between two instructions of its main thread, so never while that is in a compiled call; and an
exception raised there may be lost in a callback of a library. A thread that hears of the signal at once therefore ends
the process when the run has not ended by itself. What is in the store then is what a kill would leave: finished stages.
"""

import atexit
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from micromacro.watching.run_log import note_interruption

SECONDS_TO_UNWIND = 1.5
SHOW_CURSOR = b"\x1b[?25h"
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopping:
    """Within it, a signal raises `KeyboardInterrupt` with its name; a second one ends the process at once.

    Signals that are ignored, as SIGHUP under nohup, stay so. Once one has come, the process ends within
    `SECONDS_TO_UNWIND`, whatever it does.

    **Arguments:**

    - `last_words`: what is shown where the run cannot say so itself.
    """

    def __init__(self, last_words: str):
        self._last_words = last_words
        self._before: dict[signal.Signals, Any] = {}
        self.received: signal.Signals | None = None
        self.store: Path | None = None
        """The folder of the log in which the interruption belongs, once the run has it for itself.

        Before that a signal ends the process at once.
        """
        self._said = False

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may answer signals
        self._heard, self._signalled = socket.socketpair()
        self._signalled.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._interrupt)
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._say_what_was_ignored
        atexit.register(self._leave)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # after a signal the thread stays, for what Python does at its end may take long too
        if self._before and self.received is None:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup)
            sys.unraisablehook = self._unraisable
            atexit.unregister(self._leave)
            self._signalled.close()

    def say(self, error: BaseException) -> None:
        """Show the last words; the log has them already where the run knew why it ended."""
        self._said = True
        if self.received is not None and not isinstance(error, KeyboardInterrupt):
            self._note(self.received)
        # a terminal that has hung up shows nothing
        with suppress(OSError):
            print(self._last_words, file=sys.stderr, flush=True)

    def _interrupt(self, number: int, _: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)
            if self.store is None:
                # nothing to put in order, and a library that is half imported takes an exception badly
                self._end(self.received)
            # what libraries and their threads complain of while they are torn down is no news
            logging.disable()
            threading.excepthook = lambda _: None
            raise KeyboardInterrupt(self.received.name)

    def _say_what_was_ignored(self, ignored: Any) -> None:
        if self.received is None:
            self._unraisable(ignored)

    def _listen(self) -> None:
        """Wait for a signal, and then for a second one, as long as the run may take to end."""
        number = self._next()
        if number is not None:
            self._heard.settimeout(SECONDS_TO_UNWIND)
            with suppress(TimeoutError):
                self._next()
            self._end(signal.Signals(number))

    def _next(self) -> int | None:
        while received := self._heard.recv(1):
            if received[0] in self._before:
                return received[0]
        self._heard.close()
        return None

    def _end(self, number: signal.Signals) -> None:
        # straight to the descriptor: whoever is writing to the stream may hold its lock
        with suppress(OSError):
            if os.isatty(2):
                os.write(2, SHOW_CURSOR)
            if not self._said:
                os.write(2, f"{self._last_words}\n".encode())
        if not self._said:
            self._note(number)
        os._exit(128 + number)

    def _leave(self) -> None:
        """End when Python is about to take itself down: our thread no longer runs then, and libraries take seconds."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        if self.received is not None:
            os._exit(128 + self.received)

    def _note(self, number: signal.Signals) -> None:
        if self.store is not None:
            note_interruption(self.store, number.name)
