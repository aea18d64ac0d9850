"""Tasks on the workers of a dask cluster: in order, whatever befalls a worker, and reported by name where none can."""

import os
import pickle
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster

from micromacro.cluster import pool as module
from micromacro.cluster.connect import connected, local_cluster
from micromacro.cluster.pool import ClusterPool
from micromacro.errors import ClusterError


class Toy:
    """A simulator whose first call of some methods goes wrong, once and for all workers."""

    def __init__(self, folder: Path):
        self.folder, self.added = folder, []

    def double(self, *, x: np.ndarray) -> tuple[np.ndarray]:
        return (2 * x,)

    def add(self, *, kind: str, number: int) -> None:
        self.added.append((kind, number))

    def told(self) -> list:
        return self.added

    def die_once(self, *, x: np.ndarray) -> tuple[np.ndarray]:
        if self._first_time():
            os.kill(os.getpid(), signal.SIGKILL)
        return (2 * x,)

    def hang_once(self, *, x: np.ndarray) -> tuple[np.ndarray]:
        if self._first_time():
            time.sleep(600)
        return (2 * x,)

    def spoil_once(self, *, x: np.ndarray) -> tuple[np.ndarray]:
        return (np.nan * x,) if self._first_time() else (2 * x,)

    def spoil(self, *, x: np.ndarray) -> tuple[np.ndarray]:
        return (np.where(x == 3, np.nan, x),)

    def refuse(self, *, x: np.ndarray) -> tuple[np.ndarray]:
        if x[0] == 3:
            raise ValueError("three is too many")
        return (2 * x,)

    def slow(self, *, x: np.ndarray) -> tuple[np.ndarray]:
        time.sleep(1.0)
        return (x[:1],)

    def nap(self, *, x: np.ndarray) -> tuple[np.ndarray]:
        time.sleep(0.2)
        return (2 * x,)

    def _first_time(self) -> bool:
        try:
            (self.folder / "done").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@pytest.fixture
def pool(cluster, tmp_path):
    return ClusterPool(cluster.client, partial(Toy, tmp_path))


def tasks(count: int) -> tuple[list[dict], list[str]]:
    return [{"x": np.full(2, float(number))} for number in range(count)], [f"window {n}" for n in range(count)]


def doubled(answers: list) -> bool:
    return all(np.array_equal(answer[0], np.full(2, 2.0 * number)) for number, answer in enumerate(answers))


def test_answers_come_in_order_and_each_is_told_once(pool):
    heard: list[int] = []
    answers = pool.run("double", *tasks(20), lambda number, _: heard.append(number))
    assert doubled(answers)
    assert sorted(heard) == list(range(20))


@pytest.mark.parametrize("method", ["die_once", "spoil_once"])
def test_a_task_is_done_elsewhere_where_its_worker_dies_or_spoils_it(pool, method):
    assert doubled(pool.run(method, *tasks(8)))


def test_a_worker_that_hangs_is_given_up(cluster, tmp_path):
    pool = ClusterPool(cluster.client, partial(Toy, tmp_path), patience=3.0)
    began = time.monotonic()
    assert doubled(pool.run("hang_once", *tasks(4)))
    assert time.monotonic() - began < 60


def test_a_worker_that_ends_while_it_is_sent_to_is_no_harm(pool, cluster, monkeypatch):
    """The scheduler then stumbles over its address."""
    scatter, stumbled = cluster.client.scatter, []

    def once(*arguments, **settings):
        if not stumbled:
            stumbled.append(True)
            raise KeyError("tcp://127.0.0.1:41735")
        return scatter(*arguments, **settings)

    monkeypatch.setattr(cluster.client, "scatter", once)
    assert doubled(pool.run("double", *tasks(4)))
    assert stumbled


def test_long_tasks_travel_in_more_messages(pool, cluster, monkeypatch):
    submit, messages = cluster.client.map, []

    def counted(function, bundles, **settings):
        messages.append(len(bundles))
        return submit(function, bundles, **settings)

    monkeypatch.setattr(cluster.client, "map", counted)
    assert all(doubled(pool.run("nap", *tasks(8))) for _ in range(2))
    assert messages[0] == 2 * module.BUNDLES
    assert messages[1] == 8


def test_an_interruption_is_left_to_the_run(pool, cluster):
    """Ctrl-C in a terminal goes to all processes that were started from it."""
    before = set(cluster.client.run(os.getpid).values())
    for worker in before:
        os.kill(worker, signal.SIGINT)
    time.sleep(0.5)
    assert doubled(pool.run("double", *tasks(4)))
    assert set(cluster.client.run(os.getpid).values()) == before


@pytest.mark.slow
def test_a_frozen_worker_is_given_up_also_while_it_is_sent_to(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_TO_ANSWER", 2.0)
    pool = ClusterPool(cluster.client, partial(Toy, tmp_path), patience=3.0)
    pool.run("double", *tasks(4))
    (frozen, *_) = cluster.client.run(os.getpid).values()
    os.kill(frozen, signal.SIGSTOP)
    try:
        began = time.monotonic()
        large = [{"x": np.full(10**6, float(number))} for number in range(8)]
        answers = pool.run("double", large, [str(number) for number in range(8)])
    finally:
        with suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGCONT)
    assert all(np.all(answer[0] == 2.0 * number) for number, answer in enumerate(answers))
    assert time.monotonic() - began < 120


def test_what_no_worker_makes_a_number_is_believed(pool):
    answers = pool.run("spoil", *tasks(5))
    assert [bool(np.isnan(answer[0]).any()) for answer in answers] == [False, False, False, True, False]


def test_a_task_that_fails_everywhere_is_named_when_the_others_are_done(pool):
    heard: list[int] = []
    with pytest.raises(ClusterError, match="window 3: refuse failed 3 times, last: ValueError: three is too many"):
        pool.run("refuse", *tasks(6), lambda number, _: heard.append(number))
    assert sorted(heard) == [0, 1, 2, 4, 5]


def test_every_simulator_is_told_in_order_also_those_that_start_later(pool):
    pool.everywhere("add", {"kind": "a", "number": 1})
    pool.everywhere("add", {"kind": "b", "number": 2})
    assert pool.run("told", [{}], ["all"]) == [[("a", 1), ("b", 2)]]
    pool.forget("add", "a")
    pool.everywhere("add", {"kind": "a", "number": 3})
    pool.run("die_once", *tasks(4))
    for heard in pool.run("told", [{}] * 4, ["all"] * 4):
        assert heard[-2:] == [("b", 2), ("a", 3)]


def test_arguments_do_not_pass_through_the_scheduler(cluster, pool):
    large = np.zeros(1_000_000)

    def sizes(dask_scheduler):
        return [len(pickle.dumps(task.run_spec)) for task in dask_scheduler.tasks.values() if task.run_spec]

    found: list[int] = []
    pool.run(
        "slow", [{"x": large}] * 3, ["a", "b", "c"], lambda *_: found.extend(cluster.client.run_on_scheduler(sizes))
    )
    assert found
    assert max(found) < 10_000


def test_a_worker_that_needs_much_memory_is_not_left_waiting(cluster):
    """One that is paused does no task, and tells nobody."""

    def pauses(dask_worker):
        return dask_worker.memory_manager.memory_pause_fraction

    assert set(cluster.client.run(pauses).values()) == {False}


def test_everything_listens_on_loopback_only(cluster):
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [c.laddr.ip for p in processes for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1"}


def test_a_scheduler_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr("micromacro.cluster.connect.SECONDS_TO_CONNECT", 1)
    with pytest.raises(ClusterError, match="must be the address of a dask scheduler"), connected("tcp://127.0.0.1:9"):
        pass


def test_long_tasks_after_short_ones_are_waited_for(cluster, tmp_path, monkeypatch):
    """A call of tuning is answered in no time; a cycle takes as long as it takes."""
    monkeypatch.setattr(module, "LEAST_PATIENCE", 0.1)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    pool = ClusterPool(cluster.client, partial(Toy, tmp_path))
    before = set(cluster.client.run(os.getpid).values())
    pool.run("double", *tasks(4))
    assert len(pool.run("slow", *tasks(2))) == 2
    assert set(cluster.client.run(os.getpid).values()) == before


def test_patience_grows_each_time_that_all_seem_to_hang(pool):
    pool._longest = 10.0
    first, pool._hung = pool._silence, 2
    assert (first, pool._silence) == (200.0, 800.0)


def test_a_frozen_worker_is_noticed_before_patience_ends(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_TO_ANSWER", 2.0)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_QUESTIONS", 1.0)
    pool = ClusterPool(cluster.client, partial(Toy, tmp_path))
    pool.run("double", *tasks(4))
    (frozen, *_) = cluster.client.run(os.getpid).values()
    timer = threading.Timer(0.5, os.kill, (frozen, signal.SIGSTOP))
    timer.start()
    began = time.monotonic()
    try:
        assert len(pool.run("slow", *tasks(4))) == 4
    finally:
        with suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGCONT)
    assert time.monotonic() - began < 60


def test_a_scheduler_without_workers_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "ATTEMPTS_TO_SEND", 2)
    monkeypatch.setattr(module, "SECONDS_TO_JOIN", 0.5)
    address = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(n_workers=0, **address) as empty,
        Client(empty, timeout=1, set_as_default=False) as client,
    ):
        pool = ClusterPool(client, partial(Toy, tmp_path), patience=2.0)
        with pytest.raises(ClusterError, match=r"scheduler at .* has no workers\..*'dask worker'"):
            pool.run("double", *tasks(2))
    assert "has no workers: waiting" in caplog.text


def test_workers_that_are_gone_for_good_are_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_TO_JOIN", 0.5)
    with local_cluster(1, patience=2.0) as one:
        pool = one.pool(partial(Toy, tmp_path))
        assert doubled(pool.run("double", *tasks(2)))
        ours: Any = one.client.cluster
        ours.sync(next(iter(ours.workers.values())).close)
        while one.client.scheduler_info()["workers"]:
            time.sleep(0.1)
        assert doubled(pool.run("double", *tasks(4)))
