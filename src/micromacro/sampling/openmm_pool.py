"""Worker processes that simulate, kept alive from call to call."""

import contextlib
import os
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from micromacro.errors import PhysicsError
from micromacro.sampling import openmm_worker
from micromacro.sampling.openmm_worker import Simulator
from micromacro.sampling.pool import Answer, nothing

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NPROC": "1",
}


class Workers:
    """So many processes with a `Simulator` each; one needs no process besides this one.

    They start with the first task, end with this object or the interpreter, and die with the process that made them.

    **Arguments:**

    - `count`: of processes.
    - `settings`: arguments of `Simulator`.
    """

    def __init__(self, count: int, settings: dict):
        self.count, self._settings = count, settings
        self._own: Simulator | None = None
        self._processes: list[subprocess.Popen] = []
        self._threads: ThreadPoolExecutor | None = None
        self._told: list[tuple[str, dict]] = []

    def everywhere(self, method: str, arguments: dict) -> None:
        """Call a method of every simulator; those that start later catch up."""
        self._told.append((method, arguments))
        if self.count == 1:
            if self._own is not None:
                getattr(self._own, method)(**arguments)
        elif self._processes:
            self._in_threads([(process, method, arguments) for process in self._processes])

    def forget(self, method: str, kind: str) -> None:
        """Drop earlier calls of a method for a kind of bias that a later one replaces."""
        self._told = [one for one in self._told if one[0] != method or one[1]["kind"] != kind]

    def run(
        self,
        method: str,
        tasks: Sequence[dict],
        labels: Sequence[str],
        done: Callable[[int, Answer], None] = nothing,
    ) -> list[Answer]:
        """The answers to all tasks, in their order, whichever process each falls to."""
        del labels
        if self.count == 1:
            self._own = self._own or self._caught_up(Simulator(**self._settings))
            answers = []
            for number, task in enumerate(tasks):
                answers.append(getattr(self._own, method)(**task))
                done(number, answers[-1])
            return answers
        if not tasks:
            return []
        if not self._processes:
            self._start()
        idle: SimpleQueue = SimpleQueue()
        for process in self._processes:
            idle.put(process)
        return self._in_threads([(idle, method, task) for task in tasks], done)

    def close(self) -> None:
        """End all processes; a later task starts new ones."""
        _end(self._processes)
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        self._processes, self._threads = [], None

    def _caught_up(self, simulator: Simulator) -> Simulator:
        for method, arguments in self._told:
            getattr(simulator, method)(**arguments)
        return simulator

    def _start(self) -> None:
        command = [sys.executable, "-P", str(Path(openmm_worker.__file__).resolve())]
        environment = os.environ | ONE_THREAD
        for _ in range(self.count):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            self._processes.append(process)
        # the list is shared with the finaliser, which must not hold this object itself
        weakref.finalize(self, _end, self._processes)
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="openmm")
        for process in self._processes:
            _send(process, (sys.path, self._settings))
        told, self._told = self._told, []
        for method, arguments in told:
            self.everywhere(method, arguments)

    def _in_threads(self, calls: list[tuple], done: Callable[[int, Answer], None] = nothing) -> list[Answer]:
        assert self._threads is not None
        try:
            futures = {self._threads.submit(_call, *call): number for number, call in enumerate(calls)}
            for future in as_completed(futures):
                done(futures[future], future.result())
            return [future.result() for future in futures]
        except BaseException:
            # what is under way, or was cut short by Ctrl-C, would answer the next question
            self.close()
            raise


def _call(process: subprocess.Popen | SimpleQueue, method: str, arguments: dict) -> object:
    """One request to a process, or to whichever is idle."""
    idle = process if isinstance(process, SimpleQueue) else None
    one: subprocess.Popen = idle.get() if idle is not None else process  # type: ignore[assignment]
    try:
        _send(one, (method, arguments))
        fine, answer = pickle.load(one.stdout)  # type: ignore[arg-type]
    except (EOFError, BrokenPipeError, pickle.UnpicklingError, ValueError, OSError) as error:
        raise PhysicsError(
            "a worker process ended before its task was done",
            where=f"{method}, exit code {one.poll()}",
            remedy="It may have run out of memory; use fewer workers, and go on with --resume.",
        ) from error
    finally:
        if idle is not None:
            idle.put(one)
    if not fine:
        raise RuntimeError(f"in a worker process:\n{answer}")
    return answer


def _send(process: subprocess.Popen, message: tuple) -> None:
    assert process.stdin is not None
    pickle.dump(message, process.stdin, pickle.HIGHEST_PROTOCOL)
    process.stdin.flush()


def _end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]
