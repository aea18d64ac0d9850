"""What runs in a worker of a cluster: a simulator for each session, made once and told what it must know."""

import pickle
import threading
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MOST_SESSIONS = 4
"""Simulators that one worker keeps; older ones go, and are made again where they are asked."""


class Message(NamedTuple):
    """A call that every simulator of a session must have had before it goes on, numbered in order."""

    number: int
    method: str
    arguments: dict


class Answered(NamedTuple):
    """Answers to some tasks, the seconds that they took, and the worker that gave them."""

    answers: list
    seconds: float
    worker: str


@dataclass
class _Held:
    simulator: Any
    heard: set[int] = field(default_factory=set)
    busy: threading.Lock = field(default_factory=threading.Lock)


_held: dict[str, _Held] = {}
_making = threading.Lock()


def answer(tasks: list[dict], *, session: str, make: bytes, told: list[Message], method: str) -> Answered:
    """Call a method of the session's simulator, which is made from `make`, a pickled function, where there is none.

    `tasks` holds the arguments of one call each.

    The pickle comes from the client that the worker serves, like the task itself.
    """
    from distributed import get_worker

    began = time.monotonic()
    with _making:
        if session not in _held:
            while len(_held) >= MOST_SESSIONS:
                _held.pop(next(iter(_held)))
            _held[session] = _Held(pickle.loads(make)())
        held = _held[session]
    with held.busy:
        for message in told:
            if message.number not in held.heard:
                getattr(held.simulator, message.method)(**message.arguments)
                held.heard.add(message.number)
        found = [getattr(held.simulator, method)(**task) for task in tasks]
    return Answered(found, time.monotonic() - began, get_worker().address)
