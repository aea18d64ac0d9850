"""Batches cut into parts: whole, alike, by shape alone; done by several devices to the same numbers."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micromacro.sampling.parts import LEAST_NUMBERS, LEAST_WORK, parts

SCRIPT = """
import sys
import jax, jax.numpy as jnp, numpy as np
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.table import zero_table
from micromacro.sampling.tuning import first_tuning
from micromacro.sampling.windows import Windows
from micromacro.systems.model import OverdampedSystem

used = set()
keep = jax.device_put
def watched(tree, device=None, **more):
    used.add(device)
    return keep(tree, device, **more)
jax.device_put = watched
system = OverdampedSystem(lambda q: (q[0] ** 2 - 1) ** 2 + q[1] ** 2, 2, np.zeros((1, 2)))
coarse = CoarseVariable(lambda q: q[:1], np.array([-1.5]), np.array([1.5]), (False,))
engine = JaxEngine(system, coarse)
windows = Windows(jnp.linspace(-1, 1, 8)[:, None], jnp.array([40.0]), zero_table(coarse, 20))
walkers = engine.start(windows, jnp.zeros((8, 128, 2)))
walkers, chunk = engine.advance(windows, first_tuning(8, 2), walkers, jax.random.key(0), 2, 300)
moved = engine.trajectories(np.zeros((900, 2)), 1e-3, 40, jax.random.key(1))
print(len(used - {None}))
np.savez(sys.argv[1], moved.final, *walkers, *chunk)
"""


@given(st.integers(1, 200), st.integers(1, 300), st.integers(1, 50), st.integers(0, 5000))
def test_parts_cover_every_walker_once_and_are_of_few_shapes(windows, walkers, dimension, steps):
    count = np.zeros((windows, walkers), int)
    shapes = set()
    cut = parts(windows, walkers, dimension, steps)
    for part in cut:
        count[part.windows, part.walkers] += 1
        shapes.add(count[part.windows, part.walkers].shape)
    assert np.all(count == 1)
    assert len(shapes) <= 4
    smallest = min(a * b for a, b in shapes)
    if len(cut) > 1 and len(shapes) == 1:
        assert smallest * dimension >= LEAST_NUMBERS
        assert smallest * dimension * max(steps, 1) >= LEAST_WORK


def test_labels_name_windows():
    assert [part.label for part in parts(5, 512, 2, 1000)] == [f"window {number}" for number in range(5) for _ in "ab"]
    assert parts(4, 8, 2, 10)[0].label == "windows 0 to 3"


def run(devices: int, file) -> int:
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_ENABLE_X64": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(file)], env=os.environ | flags, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.slow
def test_walkers_are_advanced_by_all_devices_to_the_same_numbers(tmp_path):
    assert run(1, tmp_path / "one.npz") == 1
    assert run(4, tmp_path / "four.npz") == 4
    one, four = np.load(tmp_path / "one.npz"), np.load(tmp_path / "four.npz")
    for name in one.files:
        np.testing.assert_array_equal(one[name], four[name])
