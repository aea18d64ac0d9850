"""Case files as strangers write them: real ones with a few things changed, and bytes that are none."""

import copy
import os
import shutil
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from benchmarks.fuzz.values import to_toml, values
from micromacro.cases.alanine import DATA

CODE = """
import jax.numpy as jnp

def potential(q):
    return jnp.sum((q**2 - 1) ** 2)

def coarse(q):
    return q[:1]

def drift(q):
    return -q

def noise(q):
    return jnp.ones(2)

def distance(positions):
    return jnp.linalg.norm(positions[1] - positions[5])

def raises(q):
    raise RuntimeError("on purpose\\nin two lines")

def wrong_shape(q):
    return jnp.ones((3, 3))

def not_a_number(q):
    return jnp.sum(q) * jnp.nan

def returns_text(q):
    return "text"

NUMBER = 3
"""
OWN = {
    "title": "Two wells",
    "seed": 1,
    "system": {
        "kind": "overdamped",
        "potential": "system.py:potential",
        "dimension": 2,
        "kT": 1.0,
        "mobility": 1.0,
        "time_step": 1e-3,
        "initial": [[-1.0, -1.0], [1.0, 1.0]],
    },
    "coarse": {"kind": "function", "function": "system.py:coarse", "lower": [-1.8], "upper": [1.8]},
    "bias": {"windows": 16, "steps": 500, "walkers": 16, "stiffness": 80.0},
    "generator": {"kind": "score", "training_steps": 1000, "width": 32, "depth": 2},
    "couple": {"rounds": 2, "tolerance": 0.1},
    "close": {"observables": {"upper": "system.py:potential"}, "basins": {"left": [[-1.8], [0.0]]}},
    "budget": {"force_evaluations": 1e7},
}
SDE = OWN | {
    "system": {
        "kind": "sde",
        "drift": "system.py:drift",
        "diffusion": "system.py:noise",
        "dimension": 2,
        "initial": [[0.0, 1.0]],
    },
    "explore": {"kind": "unbiased", "steps": 100, "walkers": 4},
}
LEARNED = OWN | {
    "coarse": {
        "kind": "diffusion-map",
        "features": [{"kind": "state"}, {"kind": "angles", "coordinates": [0]}],
        "components": 1,
        "points": 500,
        "neighbours": 32,
        "landmarks": 100,
    },
    "close": {},
}
MOLECULE = {
    "system": {
        "kind": "openmm",
        "structure": ["c7eq.pdb", "c7ax.pdb"],
        "forcefield": ["amber96.xml"],
        "temperature": 300.0,
        "friction": 1.0,
        "time_step": 0.002,
        "constraints": "hbonds",
    },
    "coarse": {"kind": "torsion", "atoms": [[4, 6, 8, 14]]},
    "close": {"observables": {"end": "system.py:distance"}},
    "data": {
        "topology": "c7eq.pdb",
        "trajectories": ["walk.dcd"],
        "colvar": ["COLVAR"],
        "coarse": ["phi"],
        "bias": ["metad.bias"],
        "discard": 1,
        "stride": 2,
        "times": [0.0, 1.0],
        "selection": "all",
    },
}
CASES = {"own": OWN, "sde": SDE, "learned": LEARNED, "molecule": MOLECULE}
KEYS = ["kind", "seed", "wat", "system", "a.b", "", "\0", "ключ", "__class__", "features", "dimension", "x" * 300]


def write_neighbours(folder: Path) -> None:
    """What lies beside a hostile case file: its Python, a pipe, a link to itself, one that leads out, a folder."""
    folder.mkdir(parents=True)
    (folder / "system.py").write_text(CODE)
    (folder / "broken.py").write_text("def f(:\n")
    for name in ("c7eq", "c7ax"):
        shutil.copy(DATA / f"alanine_dipeptide_{name}.pdb", folder / f"{name}.pdb")
    for name in ("pipe", "pipe.py"):
        os.mkfifo(folder / name)
    for name in ("folder", "folder.py"):
        (folder / name).mkdir()
    (folder / "loop").symlink_to("loop")
    outside = folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret.txt").write_text("secret\n")
    (outside / "evil.py").write_text("def f(q):\n    return q[0]\n")
    (folder / "link_out").symlink_to(outside / "secret.txt")


@st.composite
def case_texts(draw: st.DrawFn, name: str) -> bytes:
    """The bytes of a case file of one kind: `bytes`, or the name of a real case with one to four things changed."""
    if name == "bytes":
        return draw(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode), st.sampled_from(BYTES)))
    tables = copy.deepcopy(CASES[name])
    for _ in range(draw(st.integers(1, 4))):
        _change(draw, tables)
    text = to_toml(tables).encode("utf-8", "surrogatepass")
    return _damaged(draw, text) if draw(st.integers(0, 9)) == 0 else text


BYTES = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"a = " + b"[" * 3000 + b"]" * 3000,
    b"a = " + b"{a=" * 3000 + b"1" + b"}" * 3000,
    b"a." * 3000 + b"a = 1",
    b"a = " + b"9" * 5000,
    b"a = 1e" + b"9" * 50,
    b"a = '" + b"x" * 1_000_000 + b"'",
    b"[" + b"a." * 2000 + b"a]",
    b"".join(b"k%d = 1\n" % number for number in range(20_000)),
    b"[system]\nkind = []\n[coarse]\nkind = {}",
]


def _change(draw: st.DrawFn, tables: dict[str, Any]) -> None:
    """Replace, remove or add one key somewhere."""
    place: Any = tables
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or draw(st.integers(0, 4)) == 0:
            break
        place = inner
    action = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
    if action == "remove":
        del place[key]
    elif action == "add" and isinstance(place, dict):
        place[draw(st.sampled_from(KEYS))] = draw(values)
    else:
        place[key] = draw(values)


def _damaged(draw: st.DrawFn, text: bytes) -> bytes:
    """Bytes cut off, or one of them replaced."""
    at = draw(st.integers(0, max(len(text) - 1, 0)))
    return text[:at] if draw(st.booleans()) else text[:at] + draw(st.binary(max_size=4)) + text[at + 1 :]
