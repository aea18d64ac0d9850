"""The command line run within the test, against a pipeline that only remembers what it was asked."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from micromacro.cli.main import main

SUMMARY = {
    "version": "0.1.0",
    "case": "hidden-barrier",
    "method": "coupled",
    "generator": "score",
    "seed": 0,
    "device": "cpu",
    "force_evaluations": 1_000_000,
    "wall_seconds": 12.34,
    "stages": {"bias": {"wall_seconds": 12.34, "force_evaluations": 1_000_000}},
    "basins": {
        "left": {"free_energy_kT": 0.0, "stderr_kT": 0.01},
        "right": {"free_energy_kT": 0.123, "stderr_kT": 0.02},
    },
    "consistency": {
        "mixing": {"value": 1.01, "threshold": 1.1, "passed": True, "reason": None},
        "overlap": {"value": 0.02, "threshold": 0.03, "passed": False, "reason": "too few windows"},
        "dynamics": {"value": None, "threshold": None, "passed": None, "reason": "no second well"},
    },
}


@pytest.fixture
def summary() -> dict:
    """The content of `summary.json`."""
    return SUMMARY


@dataclass(frozen=True)
class Answer:
    """What a command came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def micromacro(monkeypatch, capsys):
    """Runs the command line with some arguments."""

    def run(*arguments) -> Answer:
        monkeypatch.setattr(sys, "argv", ["micromacro", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Answer(ended.value.code or 0, printed.out, printed.err)

    return run


class FakeResult:
    """Takes the place of a result; `asked` keeps the arguments of its last method."""

    asked: tuple = ()

    def __init__(self, case, out: Path):
        self.case, self.out, self.summary = case, out, SUMMARY

    @classmethod
    def load(cls, out, case):
        return cls(case, out)

    def lift(self, z, n, *, exact=True, width=None, seed=0):
        type(self).asked = (z, n, exact, width, seed)
        rows = len(z) * n
        at = np.repeat(z, n, axis=0)
        return SimpleNamespace(
            q=np.zeros((rows, 2)), z=at, at=at, log_weight=np.zeros(rows), ess=np.full(len(z), float(n))
        )

    def reduce(self, time, trajectories, *, seed=0, route="projected"):
        type(self).asked = (time, trajectories, seed, route)
        return SimpleNamespace(t=np.linspace(0, time, 5), z=np.zeros((trajectories, 5, 1)))

    def write_report(self):
        return self.out / "report.html"


@pytest.fixture
def pipeline(monkeypatch):
    """A module in place of `micromacro.run`; `calls` lists what `run` was given."""
    module = ModuleType("micromacro.run")
    calls = []

    def run(case, out, **options):
        calls.append(SimpleNamespace(case=case, out=out, **options))
        out.mkdir(parents=True, exist_ok=True)
        (out / "summary.json").write_text(json.dumps(SUMMARY))
        return FakeResult(case, out)

    FakeResult.asked = ()
    vars(module).update(run=run, Result=FakeResult, calls=calls)
    monkeypatch.setitem(sys.modules, "micromacro.run", module)
    return module


@pytest.fixture
def finished(micromacro, pipeline, tmp_path) -> Path:
    """The OUT of a run that has ended."""
    out = tmp_path / "out"
    assert micromacro("run", "hidden-barrier", "-o", out, "--quiet").code == 0
    return out
