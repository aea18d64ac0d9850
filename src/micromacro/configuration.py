"""How JAX is set up: 64-bit numbers, a compilation cache that survives the process, a thread more than cores.

Importing any numerical part of micromacro switches JAX to 64-bit numbers for the whole process: free energies of hidden
wells are differences of large numbers. Every such package calls `configure` in its `__init__`, which Python runs
before any module of it, so none of our arrays is made before.

With as many threads as cores, two of them, JAX 0.10 waits for itself without an end where a loop holds linear algebra
in some tens of dimensions, as potentials of users may. With one more it does not.
"""

import os
from pathlib import Path

COMPILATIONS_WORTH_KEEPING_SECONDS = 0.1


def configure() -> None:
    """Switch JAX to 64 bits and keep its compilations on disk; calling it again changes nothing.

    Threads are as said above where JAX has computed nothing before, and the environment has no other `NPROC`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("NPROC", str(cores + 1))
    import jax

    jax.config.update("jax_enable_x64", True)
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", COMPILATIONS_WORTH_KEEPING_SECONDS)


def cache_directory() -> Path:
    """Where compilations are kept: the user's cache directory, as the XDG specification has it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "micromacro" / "jax"
