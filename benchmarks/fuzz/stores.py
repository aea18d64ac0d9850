"""Results of a run as strangers change them: files cut off, replaced, swapped, and JSON that claims other things."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

SETTINGS = (
    "bias.windows=6",
    "bias.steps=100",
    "bias.walkers=8",
    "generator.training_steps=50",
    "couple.rounds=1",
    "couple.cycles=5",
    "close.bursts=20000",
    "close.full_model=20000",
    "budget.force_evaluations=1e6",
)
JSON_VALUES = [
    None,
    True,
    -1,
    0,
    1e308,
    10**15,
    10**30,
    "",
    "../../outside",
    "/etc/passwd",
    "\ud800",
    [],
    {},
    [[]],
    "x",
]
NESTED = "nested"
LARGEST = 2**24
"""Bytes of a file that is changed; a sparse one may claim more."""
DAMAGE = ["cut", "flip", "flip", "remove", "folder", "link", "loop", "pipe", "empty", "bytes", "huge"]
PARTS = ["kind", "format", "settings", "state", "condition", "circles", "depth", "width", "all"]
NAMES = ["../outside", "../../outside/evil", "/etc", "learn_999", "", "close/../../..", "\0"]
ZARR = {
    "shape": [[10**15], [-1], [], [2**70], "x", [1] * 50, [0]],
    "data_type": [
        "object",
        "string",
        "variable_length_bytes",
        "complex128",
        {"name": "numpy.datetime64"},
        "r999999",
        3,
    ],
    "codecs": [
        [],
        [{"name": "vlen-utf8"}],
        [{"name": "numcodecs.pickle", "configuration": {}}],
        [{"name": "bytes"}, {"name": "numcodecs.json2"}],
        [{"name": "sharding_indexed", "configuration": {"chunk_shape": [1]}}],
        "x",
    ],
    "chunk_grid": [
        {"name": "regular", "configuration": {"chunk_shape": [1]}},
        {"name": "regular", "configuration": {"chunk_shape": [10**12]}},
        {"name": "regular", "configuration": {"chunk_shape": [0]}},
        {"name": "rectangular"},
    ],
    "fill_value": ["x", 1e400, None, [1], "AAAA"],
    "zarr_format": [2, 4, "3", None],
    "node_type": ["group", "x"],
    "attributes": [[], {"_FillValue": "x"}, {"scale_factor": "x"}, {"units": "days since 0"}, {"dtype": "object"}],
    "dimension_names": [["a"] * 9, None, [1], ["x", "x"]],
    "storage_transformers": [[{"name": "x"}]],
}


def make_run(folder: Path) -> Path:
    """The OUT of a small run, made by the command line."""
    command = [sys.executable, "-c", "from micromacro.cli.main import main; main()"]
    case = folder / "tiny"
    subprocess.run([*command, "new", str(case)], check=True, stdout=subprocess.DEVNULL)
    options = [part for text in SETTINGS for part in ("--set", text)]
    out = ["-o", str(folder / "out"), "--quiet"]
    subprocess.run([*command, "run", str(case / "case.toml"), *out, *options], check=True, stdout=subprocess.DEVNULL)
    return folder / "out"


def commands(case: Path, out: Path, results: Path) -> dict[str, list[str]]:
    """What is typed to read the results in `out`."""
    return {
        "check": ["check", str(out)],
        "check --json": ["check", str(out), "--json"],
        "compare": ["compare", str(out)],
        "status": ["status", str(out)],
        "status --json": ["status", str(out), "--json"],
        "reduce": ["reduce", str(out), "--time", "0.1", "--trajectories", "2", "-o", str(results / "paths.npz")],
        "coarse": ["coarse", str(out), str(results / "states.npy"), "-o", str(results / "coarse.npz")],
        "sample": ["sample", str(out), "--at", "0.3", "-n", "2", "-o", str(results / "draws.npz")],
        "sample --raw": ["sample", str(out), "--at", "0.3", "-n", "2", "--raw", "-o", str(results / "draws.npz")],
        "report": ["report", str(out)],
        "plumed": ["plumed", str(out), "-o", str(results / "plumed")],
        "run": ["run", str(case), "-o", str(out), "--quiet"],
        "resume": ["run", str(case), "-o", str(out), "--resume", "--quiet"],
    }


def corrupt(draw: st.DrawFn, out: Path, outside: Path) -> str:
    """Change one thing in OUT; what was changed."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and not path.is_symlink())
    tables = [path for path in files if path.suffix in (".json", ".csv", ".toml") and path.name != "zarr.json"]
    chosen = draw(st.sampled_from(["file", "table", "table", "json", "json", "zarr", "zarr", "description", "name"]))
    if chosen in ("file", "table"):
        path = draw(st.sampled_from(files if chosen == "file" or not tables else tables))
        return f"{_damage(draw, path, outside)} {path.relative_to(out)}"
    if chosen == "zarr":
        path = draw(st.sampled_from([path for path in files if path.name == "zarr.json"] or files))
        key = draw(st.sampled_from(sorted(ZARR)))
        value = draw(st.sampled_from(ZARR[key]))
        return _edit(path, out, lambda found: found.update({key: value}), f"{key} = {str(value)[:60]}")
    if chosen == "description":
        return _change_description(draw, out)
    if chosen == "name":
        return _change_name(draw, out)
    path = draw(st.sampled_from([out / "summary.json", out / "run.json", out / "case" / "case.json"]))
    return _change_json(draw, path, out)


def _damage(draw: st.DrawFn, path: Path, outside: Path) -> str:
    action = draw(st.sampled_from(DAMAGE))
    if path.stat().st_size > LARGEST:
        return "nothing"
    content = bytearray(path.read_bytes())
    if action == "cut":
        path.write_bytes(content[: draw(st.integers(0, len(content)))])
    elif action == "flip" and content:
        for _ in range(draw(st.integers(1, 4))):
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
        path.write_bytes(content)
    elif action == "huge":
        # sparse: its size is a claim
        os.truncate(path, 2**40)
    elif action in ("empty", "bytes"):
        path.write_bytes(b"" if action == "empty" else draw(st.binary(max_size=200)))
    else:
        path.unlink()
        if action == "folder":
            path.mkdir()
        elif action == "pipe":
            os.mkfifo(path)
        elif action in ("link", "loop"):
            there = outside / draw(st.sampled_from(["secret.txt", "nothing"]))
            path.symlink_to(there if action == "link" else path.name)
    return action


def _editable(path: Path) -> bool:
    """Not what an earlier change has made of it: a pipe, a folder, a claim of a size."""
    return path.is_file() and path.stat().st_size <= LARGEST


def _edit(path: Path, out: Path, change: Callable[[Any], object], what: str) -> str:
    if not _editable(path):
        return "nothing"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        change(found)
        path.write_text(json.dumps(found), encoding="utf-8")
    except (OSError, ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError):
        return "nothing"
    return f"{what} in {path.relative_to(out)}"


def _change_json(draw: st.DrawFn, path: Path, out: Path) -> str:
    value = draw(st.sampled_from([*JSON_VALUES, NESTED]))
    steps = draw(st.lists(st.integers(0, 30), min_size=1, max_size=4))

    def change(found: Any) -> None:
        place = found
        for number, step in enumerate(steps):
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = keys[step % len(keys)]
            if number == len(steps) - 1 or not isinstance(place[key], (dict, list)) or not place[key]:
                place[key] = value
                return
            place = place[key]

    if value == NESTED and _editable(path):
        path.write_text("[" * 5000 + "]" * 5000)
        return f"nested deeply {path.relative_to(out)}"
    return _edit(path, out, change, f"{str(value)[:40]!r} at {steps}")


def _change_description(draw: st.DrawFn, out: Path) -> str:
    """Another value in the description of the trained generator."""
    path = next(iter(sorted((out / "store").glob("learn_*.zarr/zarr.json"))), None)
    if path is None:
        return "nothing"
    key = draw(st.sampled_from(PARTS))
    value = draw(st.sampled_from([*JSON_VALUES, 10**9, 10**6, "os.system", [10**9], {"lower": [0], "upper": [1]}]))

    def change(found: dict) -> None:
        description = json.loads(found["attributes"]["description"])
        if key in ("depth", "width"):
            description["settings"][key] = value
        elif key != "all":
            description[key] = value
        found["attributes"]["description"] = value if key == "all" else json.dumps(description)

    return _edit(path, out, change, f"description {key} = {str(value)[:40]!r}")


def _change_name(draw: st.DrawFn, out: Path) -> str:
    """A name of a file that leads out of OUT."""
    name = draw(st.sampled_from(NAMES))
    where = draw(st.sampled_from(["last_generator", "file", "name", "platform", "potential", "stage"]))
    if where == "last_generator":
        return _edit(out / "summary.json", out, lambda found: found.update({where: name}), f"{where} = {name!r}")
    if where in ("file", "name"):
        return _edit(out / "case" / "case.json", out, lambda found: found.update({where: name}), f"{where} = {name!r}")
    if where == "platform":
        return _edit(out / "run.json", out, lambda found: found.update({where: name}), f"{where} = {name!r}")
    case = out / "case" / "case.toml"
    if where == "potential" and case.is_file():
        text = case.read_text(encoding="utf-8", errors="replace")
        case.write_text(text.replace("system.py:potential", "../../outside/evil.py:f"), encoding="utf-8")
        return "a potential outside of the archive"
    stages = sorted((out / "store").glob("*.zarr"))
    if len(stages) < 2:
        return "nothing"
    one, other = draw(st.sampled_from(stages)), draw(st.sampled_from(stages))
    if one != other:
        shutil.rmtree(one)
        shutil.copytree(other, one, symlinks=True)
    return f"{other.name} in the place of {one.name}"
