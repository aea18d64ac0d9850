"""What every test has in common: 64-bit numbers, no colours."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["NO_COLOR"] = "1"
os.environ["COLUMNS"] = "80"
os.environ.setdefault("JAX_ENABLE_X64", "1")

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def compiled_code_is_let_go():
    """Thousands of compiled functions in one process exhaust the maps of memory that the system allows it."""
    yield
    jax.clear_caches()
