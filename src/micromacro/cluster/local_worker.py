"""Loaded by workers that a run starts: Ctrl-C in a terminal reaches them too, and it is the run that ends them."""

import signal
import threading

from distributed import Worker


def dask_setup(worker: Worker) -> None:
    """Leave it to the run what follows an interruption."""
    del worker
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
