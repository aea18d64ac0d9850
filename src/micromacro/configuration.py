"""How JAX is set up: 64-bit numbers and a compilation cache that survives the process.

Importing any numerical part of micromacro switches JAX to 64-bit numbers for the whole process: free energies of hidden
wells are differences of large numbers. Every such package calls `configure` in its `__init__`, which Python runs
before any module of it, so none of our arrays is made before.
"""

import os
from pathlib import Path

COMPILATIONS_WORTH_KEEPING_SECONDS = 0.1


def configure() -> None:
    """Switch JAX to 64 bits and keep its compilations on disk; calling it again changes nothing."""
    import jax

    jax.config.update("jax_enable_x64", True)
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", COMPILATIONS_WORTH_KEEPING_SECONDS)


def cache_directory() -> Path:
    """Where compilations are kept: the user's cache directory, as the XDG specification has it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "micromacro" / "jax"
