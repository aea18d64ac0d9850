"""A small case of a user's own, to be broken in one place at a time."""

from pathlib import Path

import pytest

CASE = """
title = "Two wells"
seed = 3

[system]
kind = "overdamped"
potential = "system.py:potential"
dimension = 2
initial = [[-1.0, -1.0], [1.0, 1.0]]

[coarse]
function = "system.py:coarse"
lower = [-1.8]
upper = [1.8]

[bias]
windows = 12

[close]
observables = { above = "system.py:above" }
basins = { left = [[-1.8], [0.0]], right = [[0.0], [1.8]] }

[budget]
force_evaluations = 2e8
"""

SYSTEM = """
import jax.numpy as jnp
import numpy as np
from constants import HEIGHT

def potential(q):
    return HEIGHT * jnp.sum((q**2 - 1) ** 2)

def coarse(q):
    return q[:1]

def above(q):
    return q[1] > 0

def with_numpy(q):
    return np.sin(q[0])

def infinite(q):
    return jnp.log(q[0] + 1)

def steep(q):
    return jnp.sqrt(jnp.abs(q[0] + 1))

def half(q):
    return 0.5 * q

def double(q):
    return 2.0 * q

def flat(q):
    return jnp.ones(2)

NUMBER = 3
"""


@pytest.fixture
def case_file(tmp_path: Path) -> Path:
    """Path of a valid case file, with its Python files beside it."""
    (tmp_path / "case.toml").write_text(CASE)
    (tmp_path / "system.py").write_text(SYSTEM)
    (tmp_path / "constants.py").write_text("HEIGHT = 4.0\n")
    return tmp_path / "case.toml"
