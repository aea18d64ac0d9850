"""Where workers come from: started here, or those of a scheduler that runs."""

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

from dask import config
from distributed import Client, LocalCluster
from distributed.comm.addressing import get_address_host_port

from micromacro.cluster.pool import ClusterPool
from micromacro.errors import ClusterError
from micromacro.sampling.openmm_pool import ONE_THREAD

SECONDS_TO_CONNECT = 30
STARTS = 5
SETTINGS = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.scheduler.worker-ttl": "120s",
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
}
"""Of clusters started here: arguments and answers stay in memory, with copies of what all workers must know; a worker
that needs too much of it is ended, not left waiting; one that froze is noticed; nobody looks at profiles and curves of
processes, which cost time on the same cores."""


@dataclass(frozen=True)
class DaskCluster:
    """Workers of a dask scheduler; `revive` starts them again where they are ours."""

    client: Client
    patience: float | None = None
    revive: Callable[[], None] | None = None

    def pool(self, make: Callable[[], Any]) -> ClusterPool:
        """A pool whose workers each have a simulator."""
        return ClusterPool(self.client, make, self.patience, self.revive)


@contextmanager
def local_cluster(workers: int, patience: float | None = None) -> Iterator[DaskCluster]:
    """So many worker processes of one thread each on this machine, which listen on loopback only."""
    with (
        config.set(SETTINGS),
        _let_go(_started(workers)) as cluster,
        Client(cluster, direct_to_workers=True, set_as_default=False) as client,
    ):

        def revive() -> None:
            # those that ended as they began are not started again by themselves
            own: Any = cluster
            own.scale(0)
            own.scale(workers)

        yield DaskCluster(client, patience, revive)


@contextmanager
def _let_go(cluster: LocalCluster) -> Iterator[LocalCluster]:
    """Close it at the end: dask may stumble over a worker that has left by itself, which is no harm to a run."""
    try:
        yield cluster
    finally:
        with suppress(KeyError):
            cluster.close()


def _started(workers: int) -> LocalCluster:
    """A cluster of which all workers have begun; one that dies as it begins is no harm."""
    _start_tracker()
    # Ctrl-C in a terminal reaches all its processes: those that are started from here leave it to the run
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return _begun(workers)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begun(workers: int) -> LocalCluster:
    failure: Exception | None = None
    for _ in range(STARTS):
        try:
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                env=ONE_THREAD,
            )
        except (RuntimeError, OSError, TimeoutError) as error:
            failure = error
    raise ClusterError(
        f"{workers} workers could not be started: {failure}. Use fewer --workers, or see what keeps processes from "
        "starting here."
    ) from failure


def _start_tracker() -> None:
    """Start Python's process that cleans up after others: it is not to warn of what an interrupted run leaves to it."""
    rules = os.environ.get("PYTHONWARNINGS")
    quiet = "ignore::UserWarning:multiprocessing.resource_tracker"
    os.environ["PYTHONWARNINGS"] = f"{rules},{quiet}" if rules else quiet
    try:
        resource_tracker.ensure_running()
    finally:
        if rules is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = rules


@contextmanager
def connected(address: str, patience: float | None = None) -> Iterator[DaskCluster]:
    """The workers of a scheduler that runs. **Raises:** `ClusterError` where it cannot be reached."""
    try:
        # a client that cannot connect complains again when it is let go
        with socket.create_connection(get_address_host_port(address), SECONDS_TO_CONNECT):
            pass
        client = Client(address, timeout=SECONDS_TO_CONNECT, direct_to_workers=True, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterError(
            f"--scheduler must be the address of a dask scheduler, such as tcp://10.0.0.1:8786; got {address!r}: "
            f"{error}. Start one with 'dask scheduler', and workers with 'dask worker {address} --nthreads 1'."
        ) from error
    with client:
        yield DaskCluster(client, patience)
