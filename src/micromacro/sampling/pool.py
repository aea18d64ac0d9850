"""Where the tasks of an engine are done, and how their answers are kept."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

Answer = Any
"""What a method of a simulator returns: a tuple of arrays where it is to be kept."""


def nothing(_: int, __: Answer) -> None:
    """Tell nobody."""


@runtime_checkable
class Pool(Protocol):
    """Does tasks: calls of one method of a simulator, each with arguments of its own."""

    def run(
        self,
        method: str,
        tasks: Sequence[dict],
        labels: Sequence[str],
        done: Callable[[int, Answer], None] = nothing,
    ) -> list[Answer]:
        """The answers to all tasks, in their order, wherever each is done.

        `labels` name the tasks in messages; `done` is told the number and the answer of each as it comes.
        """
        ...

    def everywhere(self, method: str, arguments: dict) -> None:
        """Call a method of every simulator; those that start later catch up."""
        ...

    def forget(self, method: str, kind: str) -> None:
        """Drop earlier calls of a method for a kind of bias that a later one replaces."""
        ...

    def close(self) -> None:
        """End what it started; a later task starts it again."""
        ...


@runtime_checkable
class Cluster(Protocol):
    """Worker processes, here or on other machines."""

    def pool(self, make: Callable[[], Any]) -> Pool:
        """A pool whose workers each have a simulator, made by a function that can be sent to them."""
        ...


@runtime_checkable
class Journal(Protocol):
    """Answers that were given before."""

    def next_call(self) -> int:
        """The number of the next call."""
        ...

    def find(self, call: int, part: int, question: str) -> tuple[np.ndarray, ...] | None:
        """The answer to the same question of the same call and part, where there is one."""
        ...

    def keep(self, call: int, part: int, question: str, answer: tuple[np.ndarray, ...]) -> None:
        """Keep an answer."""
        ...


class Recorder:
    """Asks a pool, but for what a journal has kept."""

    def __init__(self, pool: Pool):
        self.pool = pool
        self._journal: Journal | None = None

    @contextmanager
    def keeping(self, journal: Journal) -> Iterator[None]:
        """Keep answers in a journal meanwhile."""
        self._journal = journal
        try:
            yield
        finally:
            self._journal = None

    def beside(self, pool: Pool) -> "Recorder":
        """One that asks another pool and has the same journal."""
        other = Recorder(pool)
        other._journal = self._journal
        return other

    def run(
        self,
        method: str,
        tasks: Sequence[dict],
        labels: Sequence[str],
        answered: Callable[[int], None] = lambda _: None,
    ) -> list[tuple[np.ndarray, ...]]:
        """The answers to all tasks, tuples of arrays, in their order; `answered` is told the number of each."""
        journal = self._journal
        if journal is None:
            return self.pool.run(method, tasks, labels, lambda number, _: answered(number))
        call = journal.next_call()
        questions = [question(method, task) for task in tasks]
        answers = [journal.find(call, part, asked) for part, asked in enumerate(questions)]
        missing = [part for part, answer in enumerate(answers) if answer is None]
        for part in set(range(len(tasks))) - set(missing):
            answered(part)

        def done(number: int, answer: tuple[np.ndarray, ...]) -> None:
            journal.keep(call, missing[number], questions[missing[number]], answer)
            answered(missing[number])

        found = self.pool.run(method, [tasks[part] for part in missing], [labels[part] for part in missing], done)
        for part, answer in zip(missing, found, strict=True):
            answers[part] = answer
        return answers  # type: ignore[return-value]

    def once(
        self, name: str, asked: dict, compute: Callable[[], Sequence[np.ndarray | jax.Array]]
    ) -> tuple[np.ndarray, ...]:
        """Arrays that this process computes, unless the journal has kept them; `asked` is what they depend on."""
        journal = self._journal
        if journal is None:
            return tuple(np.asarray(array) for array in compute())
        call, own = journal.next_call(), question(name, asked)
        found = journal.find(call, 0, own)
        if found is None:
            found = tuple(np.asarray(array) for array in compute())
            journal.keep(call, 0, own, found)
        return found


def question(method: str, task: dict) -> str:
    """A fingerprint of what is asked: equal for equal numbers only."""
    digest = hashlib.blake2b(method.encode(), digest_size=16)
    leaves, structure = jax.tree.flatten(task)
    digest.update(str(structure).encode())
    for leaf in leaves:
        if isinstance(leaf, str):
            digest.update(leaf.encode())
        else:
            array = np.asarray(leaf)
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
