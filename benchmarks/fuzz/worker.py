"""One process of fuzzing: `python -m benchmarks.fuzz.worker KIND COUNT SEED FOLDER`.

Prints a line before each input and one after it, so that the process that reads them sees what took too long or ended
the worker. A worker holds many inputs, for compiled code is what takes time.
"""

import contextlib
import importlib
import io
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import hypothesis
import jax
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import case_files, data_files, stores
from benchmarks.fuzz.values import to_toml
from benchmarks.fuzz.watching import Watch, contents
from micromacro.cases.file import load_case
from micromacro.cli.main import main as command_line
from micromacro.configuration import cache_directory
from micromacro.errors import MicromacroError
from micromacro.molecules.data_files import OwnData
from micromacro.molecules.imported import read_own_data

LONGEST_MESSAGE = 5000
CLEAR_EVERY = 100
CHEAP = ("check", "check --json", "compare", "status", "status --json", "coarse", "run", "reduce")
DEAR = ("sample --raw", "resume", "report", "sample", "plumed", "resume afresh")


class OutcomeError(Exception):
    """How an input ended, where it was not accepted: `refused`, or what should not be."""

    def __init__(self, how: str, what: str):
        self.how, self.what = how, what
        super().__init__(how, what)


def attempt(action: Callable[[], object]) -> tuple[str, str]:
    """`accepted`, `refused` with its message, `traceback` or `no message`."""
    try:
        action()
    except MicromacroError as error:
        text = str(error)
        return ("refused", text) if 0 < len(text) <= LONGEST_MESSAGE else ("no message", f"{len(text)} characters")
    except OutcomeError as outcome:
        return outcome.how, outcome.what
    except Exception:
        return "traceback", traceback.format_exc()[-3000:]
    return "accepted", ""


def typed(*arguments: str) -> None:
    """The command line in this process; judged by its exit code and what it printed."""
    sys.argv = ["micromacro", *arguments]
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command_line()
    except SystemExit as ended:
        code, text = ended.code or 0, err.getvalue()
        if code == 2:
            one = text.startswith("Error: ") and text.count("\nError: ") == 0 and len(text) <= LONGEST_MESSAGE
            raise OutcomeError("refused" if one else "no message", text[:300]) from None
        if code not in (0, 1):
            raise OutcomeError("no message", f"exit code {code}: {text[:300]}") from None


def fuzz_case(draw: st.DrawFn, kind: str, folder: Path) -> tuple[Callable[[], object], str]:
    """A case file to load."""
    text = draw(case_files.case_texts(kind))
    path = folder / "case.toml"
    path.write_bytes(text)
    return (lambda: load_case(path)), repr(text[:1500])


def fuzz_command(draw: st.DrawFn, _: str, folder: Path) -> tuple[Callable[[], object], str]:
    """A case file to run, with too small a budget to get far."""
    name = draw(st.sampled_from(["bytes", *case_files.CASES]))
    (folder / "case.toml").write_bytes(draw(case_files.case_texts(name)))
    method = draw(st.sampled_from(["coupled", "umbrella", "data"]))
    arguments = ["run", str(folder / "case.toml"), "-o", str(folder / "OUT"), "--quiet", "--budget", "10"]
    return (lambda: typed(*arguments, "--method", method)), name


def fuzz_data(draw: st.DrawFn, _: str, folder: Path) -> tuple[Callable[[], object], str]:
    """A damaged data file, read as the kind that its name says."""
    name, content = draw(data_files.damaged_files(VALID))
    (folder / name).write_bytes(content)
    what = f"{name}: {len(content)} bytes {content[:60]!r}"
    if name in ("structure.pdb", "forces.xml", "system.xml"):
        keys = {"structure.pdb": "structure", "forces.xml": "forcefield", "system.xml": "system"}
        system = {"kind": "openmm", "structure": "c7eq.pdb"} | {keys[name]: name}
        if name == "structure.pdb":
            system["forcefield"] = "amber96.xml"
        case = {"system": system, "coarse": case_files.MOLECULE["coarse"]}
        (folder / "case.toml").write_text(to_toml(case))
        return (lambda: load_case(folder / "case.toml")), what
    if name == "weights.npy" and draw(st.booleans()):
        return (lambda: typed("coarse", str(RUN), str(folder / name), "-o", str(folder / "z.npz"))), what
    return (lambda: read_own_data(_own_data(folder, name), 2.494)), what


def _own_data(folder: Path, name: str) -> OwnData:
    walk = folder / (name if name.startswith("walk") else "walk.dcd")
    if walk.name != name:
        walk.write_bytes(VALID["walk.dcd"])
    colvar = (folder / name,) if name == "COLVAR" else ()
    weights = (folder / name,) if name.startswith("weights") else ()
    return OwnData(data_files.PDB, (walk,), colvar, weights, coarse=("phi",) if colvar else ())


def fuzz_store(draw: st.DrawFn, kind: str, folder: Path) -> tuple[Callable[[], object], str]:
    """A changed copy of results, read by one command."""
    out = folder / "OUT"
    shutil.copytree(RUN, out)
    what = [stores.corrupt(draw, out, folder.parent / "outside") for _ in range(draw(st.integers(1, 2)))]
    name = draw(st.sampled_from([*CHEAP, *CHEAP, *DEAR] if kind == "stores" else CHEAP))
    np.save(folder / "states.npy", np.zeros((3, 2)))
    if name == "resume afresh":
        # a change may have made a folder of it
        with suppress(OSError):
            (out / "summary.json").unlink()
    arguments = stores.commands(RUN.parent / "tiny" / "case.toml", out, folder)
    return (lambda: typed(*arguments["resume" if name == "resume afresh" else name])), f"{name}: {'; '.join(what)}"


KINDS: dict[str, Callable] = {
    **dict.fromkeys(["bytes", *case_files.CASES], fuzz_case),
    "commands": fuzz_command,
    "data": fuzz_data,
    "stores": fuzz_store,
}
VALID: dict[str, bytes] = {}
RUN = Path()
KEPT = [str(cache_directory()), os.environ.get("MPLCONFIGDIR", "")]
"""Where JAX and matplotlib keep what they need from one run to the next."""


def fuzz(kind: str, count: int, seed: int, work: Path, report: Callable[[dict], None]) -> None:
    """Try `count` inputs of one kind in folders under `work`; `report` is told of each before and after it."""
    inside = work / "inside"
    case_files.write_neighbours(inside)
    if kind == "data":
        VALID.update(data_files.seeds(work / "outside"))
    with contextlib.suppress(ImportError):
        # it unpickles what it pickled itself, once
        importlib.import_module("dask.delayed")
    before = contents(work / "outside")
    watch = Watch(work)
    number = 0

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(st.data())
    def one(data: st.DataObject) -> None:
        nonlocal number
        number += 1
        folder = inside
        if kind in ("stores", "data", "commands"):
            folder = work / f"one{number}"
            folder.mkdir()
            for path in inside.iterdir():
                (folder / path.name).symlink_to(path)
        action, what = KINDS[kind](data.draw, kind, folder)
        report({"begin": number, "what": what})
        watch.on, watch.allowed[:] = True, [str(folder.resolve()), *KEPT]
        how, message = attempt(action)
        watch.on = False
        wrong = [*dict.fromkeys(watch.found), *_changed(before, contents(work / "outside"))]
        watch.found.clear()
        report({"end": number, "what": what, "how": how, "message": message, "wrong": wrong})
        if folder != inside:
            shutil.rmtree(folder)
        if number % CLEAR_EVERY == 0:
            jax.clear_caches()

    one()


def _changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return [f"changed outside/{name}" for name in names]


def main() -> None:
    """What the module says; the fifth argument is the OUT of an intact run, where one is needed."""
    global RUN
    kind, count, seed, work, run = sys.argv[1:6]
    RUN = Path(run)
    lines = sys.stdout

    def report(line: dict) -> None:
        print(json.dumps(line), file=lines, flush=True)

    fuzz(kind, int(count), int(seed), Path(work), report)


if __name__ == "__main__":
    main()
