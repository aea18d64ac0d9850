"""What every test has in common: 64-bit numbers, no colours."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["NO_COLOR"] = "1"
os.environ["COLUMNS"] = "80"
os.environ.setdefault("JAX_ENABLE_X64", "1")
# rounding in training depends on the number of threads: that of a machine is not to decide on a test
os.environ.setdefault("NPROC", "1")

import jax
import pytest


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True, scope="module")
def compiled_code_is_let_go():
    """Thousands of compiled functions in one process exhaust the maps of memory that the system allows it."""
    yield
    jax.clear_caches()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The time that progress and the log of a run go by."""
    clock = Clock()
    # by name: a module that is imported here escapes the checks of shapes
    for module in ("progress", "watching.run_log"):
        monkeypatch.setattr(f"micromacro.{module}.time", clock)
    return clock
