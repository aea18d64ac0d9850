"""Tasks done by the workers of a dask cluster: tried again elsewhere where one fails, reported by name where all do."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import pairwise
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

from distributed import Client, Future
from distributed.comm.core import CommClosedError

from micromacro.cluster.tasks import Bundle, Task, believed, failure_of, note_failure, note_loss
from micromacro.cluster.worker import Answered, Message, answer
from micromacro.errors import ClusterError
from micromacro.sampling.pickling import by_value
from micromacro.sampling.pool import Answer, nothing

FIRST_PATIENCE, LEAST_PATIENCE, PATIENCE = 900.0, 60.0, 20.0
"""Seconds in silence before workers count as hung: before the first answer of a call, at least, and in longest answers
of it. Calls before it say nothing: a step of tuning is hundreds of times shorter than a cycle."""
SECONDS_BETWEEN_LOOKS = 0.5
ATTEMPTS_TO_SEND = 40
COPIES = 3
"""Of what all workers must know, lest one that ends takes it along. More cost a message each, in every round."""
SECONDS_TO_ANSWER = 10.0
"""In which a worker that is not frozen says who it is, also while it computes."""
SECONDS_TO_JOIN = 30.0
"""That a run without workers waits for one, before it says so."""
SECONDS_BETWEEN_QUESTIONS = 60.0
"""Of silence, after each of which workers are asked whether they are frozen."""
BUNDLES, MOST_BUNDLES = 2, 8
"""Messages to each worker and call that tasks travel in: each costs some milliseconds, however small its tasks."""
SECONDS_OF_BUNDLE = 0.1
"""Of work, for each worker there is, that are worth a message of their own: with more, quicker workers relieve slower
ones, and all messages pass through one client and one scheduler."""


class ClusterPool:
    """A pool whose tasks are done by dask workers.

    Arguments and answers go between this process and the workers directly; the scheduler only hears of them. An answer
    with numbers that are not finite is asked for once more, of another worker, and then believed.

    **Arguments:**

    - `client`: connected with `direct_to_workers`.
    - `make`: makes a simulator; sent to workers by cloudpickle.
    - `patience`: seconds without any answer after which workers count as hung; by default learned from the tasks.
    - `revive`: starts workers again where all have ended for good; they are somebody else's where left out.
    """

    def __init__(
        self,
        client: Client,
        make: Callable[[], Any],
        patience: float | None = None,
        revive: Callable[[], None] | None = None,
    ):
        self._client, self._patience, self._revive = client, patience, revive
        self._session, self._make = uuid4().hex, by_value(make, "the system")
        self._told: list[Message] = []
        self._published: dict[int, Future] = {}
        self._count = 0
        self._longest: float | None = None
        self._hung = 0
        self._seconds: dict[str, float] = {}
        self._ended: SimpleQueue[Future] = SimpleQueue()

    def everywhere(self, method: str, arguments: dict) -> None:
        """Have a method of every simulator called before its next task."""
        self._count += 1
        self._told.append(Message(self._count, method, arguments))

    def forget(self, method: str, kind: str) -> None:
        """Drop earlier calls of a method for a kind of bias that a later one replaces."""
        self._told = [one for one in self._told if one.method != method or one.arguments["kind"] != kind]

    def run(
        self,
        method: str,
        tasks: Sequence[dict],
        labels: Sequence[str],
        done: Callable[[int, Answer], None] = nothing,
    ) -> list[Answer]:
        """The answers to all tasks, in their order.

        **Raises:** `ClusterError` where tasks fail everywhere, after all others are done, or the scheduler is gone.
        """
        answers: list[Answer] = [None] * len(tasks)
        left = [Task(number, task, label) for number, (task, label) in enumerate(zip(tasks, labels, strict=True))]
        failed: list[Task] = []
        self._longest, self._hung = None, 0
        try:
            under_way = self._submitted(method, self._bundled(method, left))
            while under_way:
                again: list[Bundle] = []
                ended = self._finished(under_way)
                fetched = self._fetched(ended)
                for future in ended:
                    bundle = under_way.pop(future)
                    for task, found in self._answers_of(method, future, bundle, fetched.get(future)):
                        answers[task.number] = found
                        done(task.number, found)
                        bundle.remove(task)
                    failed += [task for task in bundle if task.hopeless]
                    again += [[task] for task in bundle if not task.hopeless]
                under_way |= self._submitted(method, again)
        except (CommClosedError, OSError) as error:
            if self._client.status == "running" and not self._workers():
                start = "start some with 'dask worker', one for each core, and " if self._revive is None else ""
                raise ClusterError(
                    f"{self._address} has no workers. What was done is kept: {start}go on with --resume."
                ) from error
            raise ClusterError(
                f"the scheduler does not answer: {error}. What was done is kept: start it, and go on with --resume."
            ) from error
        if failed:
            raise failure_of(method, failed)
        return answers

    def close(self) -> None:
        """Let go of what was published."""
        self._published.clear()

    @property
    def _address(self) -> str:
        return f"the scheduler at {self._client.scheduler_info()['address']}"

    def _workers(self) -> set[str]:
        return set(self._client.scheduler_info(n_workers=-1)["workers"])

    def _bundled(self, method: str, tasks: list[Task]) -> list[Bundle]:
        """Tasks in a few bundles for each worker, one after the other in their order; more where tasks take long."""
        workers = max(1, len(self._workers()))
        worth = self._seconds.get(method, 0.0) * len(tasks) / workers / (SECONDS_OF_BUNDLE * workers)
        count = min(len(tasks), workers * int(max(BUNDLES, min(worth, MOST_BUNDLES))))
        # larger ones first: dask hands them out in turn
        least, larger = divmod(len(tasks), max(1, count))
        edges = [least * number + min(number, larger) for number in range(count + 1)]
        return [tasks[begin:end] for begin, end in pairwise(edges)]

    def _submitted(self, method: str, bundles: list[Bundle]) -> dict[Future, Bundle]:
        if not bundles:
            return {}
        published, given = self._sent([[task.arguments for task in bundle] for bundle in bundles])
        alike: dict[frozenset[str], list[int]] = {}
        for number, bundle in enumerate(bundles):
            alike.setdefault(frozenset().union(*(task.avoid for task in bundle)), []).append(number)
        submitted: dict[Future, Bundle] = {}
        for avoid, numbers in alike.items():
            elsewhere = sorted(self._workers() - avoid) if avoid else []
            futures: Any = self._client.map(
                answer,
                [given[number] for number in numbers],
                key=[f"{method}-{uuid4().hex}" for _ in numbers],
                pure=False,
                workers=elsewhere or None,
                allow_other_workers=bool(elsewhere),
                session=self._session,
                make=published[0],
                told=published[1:],
                method=method,
            )
            submitted |= dict(zip(futures, [bundles[number] for number in numbers], strict=True))
        # to wait for all of them again after each would cost as much as there are, each time
        for future in submitted:
            future.add_done_callback(self._ended.put)
        return submitted

    def _sent(self, arguments: list[list[dict]]) -> tuple[list[Future], list[Future]]:
        """What simulators must know and the arguments of tasks, on workers; one that ends meanwhile is no harm."""
        for attempt in range(ATTEMPTS_TO_SEND):
            try:
                return self._everything_published(), self._scattered(arguments)
            # the scheduler knows a worker no longer that it was told to send to
            except (CommClosedError, OSError, KeyError) as error:
                if self._client.status != "running" or attempt == ATTEMPTS_TO_SEND - 1:
                    raise
                if not self._workers():
                    self._wait_for_workers()
                elif isinstance(error, TimeoutError):
                    self._restart(self._frozen())
                time.sleep(SECONDS_BETWEEN_LOOKS)
        raise AssertionError

    def _wait_for_workers(self) -> None:
        """Wait a while for a worker, and start those of this run again where none comes."""
        try:
            self._client.wait_for_workers(1, timeout=SECONDS_TO_JOIN)
        except TimeoutError:
            logging.getLogger("micromacro").warning("%s has no workers: waiting for some", self._address)
            if self._revive is not None:
                self._revive()

    def _scattered(self, contents: list[Any], copies: int = 1) -> list[Future]:
        async def scattered() -> Any:
            broadcast = copies if copies > 1 else False
            settings = {"direct": True, "broadcast": broadcast, "hash": False, "asynchronous": True}
            sent: Any = self._client.scatter(contents, **settings)
            return await sent

        # scatter itself waits for a frozen worker without an end
        return self._client.sync(scattered, callback_timeout=self._silence)  # type: ignore[return-value]

    def _frozen(self) -> list[str]:
        """Workers that do not answer a simple question in time."""

        async def frozen(worker: str) -> bool:
            asked: Any = self._client.run(os.getpid, workers=[worker], on_error="return", asynchronous=True)
            try:
                await asyncio.wait_for(asked, SECONDS_TO_ANSWER)
            except (TimeoutError, OSError):
                return True
            return False

        async def of_all(workers: list[str]) -> list[bool]:
            return await asyncio.gather(*(frozen(worker) for worker in workers))

        workers = sorted(self._workers())
        answers: Any = self._client.sync(of_all, workers)
        return [worker for worker, silent in zip(workers, answers, strict=True) if silent]

    def _restart(self, workers: list[str]) -> None:
        # one that has left, or that nobody would start again, stays away
        with suppress(ValueError, KeyError):
            if workers:
                self._client.restart_workers(workers, timeout=30, raise_for_error=False)

    def _everything_published(self) -> list[Future]:
        """The function that makes simulators, and what they must be told, each on a few workers; others fetch it."""
        wanted = {0: self._make} | {message.number: message for message in self._told}
        lost = [number for number, future in self._published.items() if future.status != "finished"]
        for number in [*lost, *(set(self._published) - set(wanted))]:
            self._published.pop(number, None)
        for number, content in wanted.items():
            if number not in self._published:
                (self._published[number],) = self._scattered([content], COPIES)
        return [self._published[number] for number in wanted]

    def _finished(self, under_way: dict[Future, Bundle]) -> list[Future]:
        """Those that ended, waited for; hung workers are restarted, and their tasks then end as lost."""
        since = asked = time.monotonic()
        while True:
            ended = self._heard(under_way)
            # futures that were lost tell nobody
            ended = ended or [future for future in under_way if future.status != "pending"]
            if ended:
                return ended
            now = time.monotonic()
            if now - since > self._silence:
                self._hung += 1
                return self._given_up(under_way, None, f"no answer in {now - since:.0f} s")
            if now - asked > SECONDS_BETWEEN_QUESTIONS:
                asked = now
                if not self._workers():
                    self._wait_for_workers()
                frozen = self._frozen()
                if frozen:
                    return self._given_up(under_way, frozen)

    def _heard(self, under_way: dict[Future, Bundle]) -> list[Future]:
        """Those that have told that they ended; waits a little for the first."""
        heard: set[Future] = set()
        with suppress(Empty):
            heard.add(self._ended.get(timeout=SECONDS_BETWEEN_LOOKS))
            while True:
                heard.add(self._ended.get_nowait())
        return [future for future in heard if future in under_way]

    @property
    def _silence(self) -> float:
        """Seconds without an answer after which something hangs."""
        if self._patience is not None:
            return self._patience
        patience = FIRST_PATIENCE if self._longest is None else max(LEAST_PATIENCE, PATIENCE * self._longest)
        # a task may take longer than any that has ended: more time whenever all seem to hang
        return patience * 2**self._hung

    def _given_up(
        self, under_way: dict[Future, Bundle], frozen: Collection[str] | None, reason: str = ""
    ) -> list[Future]:
        """Restart the `frozen` workers, all where left out, that hold tasks, which are to be done elsewhere."""
        keys = {str(future.key): future for future in under_way}
        hung: dict[str, list[Future]] = {}
        for worker, held in dict(self._client.processing()).items():  # type: ignore[call-overload]
            own = [keys[key] for key in held if key in keys]
            if own and (frozen is None or worker in frozen):
                hung[str(worker)] = own
        given_up = [future for own in hung.values() for future in own]
        if frozen is None:
            # without a worker there is nobody to wait for
            given_up = given_up or list(under_way)
        for future in given_up:
            if frozen is None:
                note_failure(under_way[future], reason)
            else:
                # the machine may be to blame
                note_loss(under_way[future], "frozen")
            for task in under_way[future]:
                task.avoid.update(worker for worker, own in hung.items() if future in own)
        self._client.cancel(given_up)
        self._restart(list(hung))
        return given_up

    def _fetched(self, ended: list[Future]) -> dict[Future, Answered]:
        """Answers that are ready, fetched together; none where one of them cannot be had, for each then tells why."""
        ready = [future for future in ended if future.status == "finished"]

        async def together() -> Any:
            answers: Any = self._client.gather(ready, asynchronous=True)
            return await answers

        try:
            answers: Any = self._client.sync(together, callback_timeout=self._silence)
        except Exception:
            return {}
        return dict(zip(ready, answers, strict=True))

    def _answers_of(
        self, method: str, future: Future, bundle: Bundle, fetched: Answered | None
    ) -> list[tuple[Task, Answer]]:
        """Tasks with their answers, but for those that must be tried again."""
        try:
            found: Answered = fetched or future.result(timeout=self._silence)
        except CancelledError as error:
            note_loss(bundle, str(error))
            return []
        except (CommClosedError, TimeoutError) as error:
            if future.status == "error":
                note_failure(bundle, error)
                return []
            if self._client.status != "running":
                raise CommClosedError(str(error)) from error
            note_loss(bundle, str(error))
            return []
        except Exception as error:
            note_failure(bundle, error)
            return []
        self._longest = max(found.seconds, self._longest or 0.0)
        self._seconds[method] = found.seconds / len(bundle)
        return believed(bundle, found.answers, found.worker)
