"""A command run in a process of its own: how long, and how much memory at most."""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Used:
    """What a process printed and used: wall seconds, and bytes of memory at its peak."""

    output: str
    seconds: float
    peak: int


def measured(command: Sequence[str]) -> Used:
    """Run a command to its end. Stops with an error where it fails.

    A new process counts the memory of the one that starts it until its own program begins: this one must stay small,
    and imports neither JAX nor NumPy.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}:\n{output}")
    return Used(output, time.perf_counter() - began, 1024 * usage.ru_maxrss)
