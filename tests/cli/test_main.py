import subprocess
import sys

import pytest

import micromacro as package

HEAVY = {"jax", "numpy", "scipy", "xarray", "matplotlib", "pydantic", "sklearn"}


def test_starting_imports_nothing_heavy():
    code = "import sys, micromacro.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_version(micromacro):
    assert micromacro("--version").out == f"{package.__version__}\n"


def test_cases_are_listed(micromacro):
    answer = micromacro("cases")
    assert answer.code == 0
    assert "hidden-barrier" in answer.out
    assert "by quadrature" in answer.out


@pytest.mark.parametrize("command", ["sample", "reduce", "check", "report", "compare"])
def test_folder_without_results(micromacro, command, tmp_path):
    options = {
        "sample": ["--at", "0", "-n", "1", "-o", tmp_path / "a.npz"],
        "reduce": ["--time", "1", "--trajectories", "1", "-o", tmp_path / "a.npz"],
    }
    answer = micromacro(command, tmp_path, *options.get(command, []))
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith(
        f"Error: OUT must hold the results of a run; got {tmp_path}, which has no summary.json."
    )
    assert answer.err.count("\n") == 1


def test_unknown_option(micromacro):
    answer = micromacro("run", "hidden-barrier", "-o", "x", "--sed", "1")
    assert answer.code == 2
    assert "--seed" in answer.err
