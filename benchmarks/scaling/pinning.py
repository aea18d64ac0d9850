"""Loaded by every worker process when it starts: one core for each, chosen before JAX counts cores."""

import os

import psutil
from distributed import Worker


def dask_setup(worker: Worker) -> None:
    """Keep this process on the core that the number of its worker names."""
    cores = sorted(os.sched_getaffinity(0))
    psutil.Process().cpu_affinity([cores[int(worker.name) % len(cores)]])
