"""Commands that read the results of a run."""

import json

import numpy as np
import pytest

from micromacro.cli.accuracy import exact_errors, mean_stderr


@pytest.mark.parametrize("options", [["--at", "-1.2"], ["--at=-1.2"]])
def test_negative_values_are_accepted(micromacro, pipeline, finished, tmp_path, options):
    file = tmp_path / "deep" / "draws"
    answer = micromacro("sample", finished, *options, "--at", "0.3", "-n", "5", "-o", file)
    assert answer.code == 0, answer.err
    z, n, exact, width, seed = pipeline.Result.asked
    np.testing.assert_array_equal(z, [[-1.2], [0.3]])
    assert (n, exact, width, seed) == (5, True, None, 0)
    with np.load(file) as arrays:
        assert {name: array.shape for name, array in arrays.items()} == {
            "q": (10, 2),
            "z": (10, 1),
            "at": (10, 1),
            "log_weight": (10,),
            "ess": (2,),
        }


def test_values_in_two_dimensions(micromacro, pipeline, tmp_path):
    out, file = tmp_path / "out", tmp_path / "draws.npz"
    micromacro("run", "two-coarse-variables", "-o", out)
    assert micromacro("sample", out, "--at", "-0.3,-1.2", "-n", "2", "-o", file, "--raw", "--width", "0.1").code == 0
    z, _, exact, width, _ = pipeline.Result.asked
    np.testing.assert_array_equal(z, [[-0.3, -1.2]])
    assert (exact, width) == (False, 0.1)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("1,2", "--at must have 1 number(s), one for each coarse variable; got [1.0, 2.0]."),
        ("left", "--at must be finite numbers separated by commas; got 'left'."),
        ("nan", "--at must be finite numbers separated by commas; got 'nan'."),
    ],
)
def test_values_that_are_none(micromacro, pipeline, finished, tmp_path, at, message):
    answer = micromacro("sample", finished, "--at", at, "-n", "5", "-o", tmp_path / "a.npz")
    assert (answer.code, answer.err) == (2, f"Error: {message}\n")


def test_reduced_dynamics(micromacro, pipeline, finished, tmp_path):
    file = tmp_path / "paths.npz"
    arguments = ["--time", "2.5", "--trajectories", "3", "-o", file, "--seed", "9", "--closure", "bursts"]
    assert micromacro("reduce", finished, *arguments).code == 0
    assert pipeline.Result.asked == (2.5, 3, 9, "bursts")
    with np.load(file) as arrays:
        assert (arrays["t"].shape, arrays["z"].shape) == ((5,), (3, 5, 1))


def test_file_that_cannot_be_written(micromacro, pipeline, finished, tmp_path):
    answer = micromacro("reduce", finished, "--time", "1", "--trajectories", "3", "-o", tmp_path)
    assert (answer.code, answer.err) == (2, f"Error: [Errno 21] Is a directory: '{tmp_path}'\n")


def test_time_must_pass(micromacro, pipeline, finished, tmp_path):
    answer = micromacro("reduce", finished, "--time", "-1", "--trajectories", "3", "-o", tmp_path / "a.npz")
    assert (answer.code, answer.err) == (2, "Error: --time must be greater than 0 and finite; got -1.0.\n")


def test_report_ends_with_its_path(micromacro, pipeline, finished):
    assert micromacro("report", finished).out == f"{finished / 'report.html'}\n"


def test_a_fault_is_told_with_its_place(pipeline, finished, micromacro, monkeypatch):
    monkeypatch.setattr(pipeline.Result, "write_report", lambda _: {}["weights"])
    answer = micromacro("report", finished)
    assert answer.code == 2
    assert "KeyError: 'weights' (test_results.py, line" in " ".join(answer.err.split())
    assert "report it" in answer.err


def test_failed_check_exits_1(micromacro, finished):
    answer = micromacro("check", finished)
    assert answer.code == 1
    rows = {line.split()[0]: line for line in answer.out.splitlines() if line.strip()}
    assert "FAILED" in rows["overlap"]
    assert "too few windows" in rows["overlap"]
    assert "not judged" in rows["dynamics"]


def test_check_that_could_not_be_judged_fails_nothing(micromacro, finished):
    summary = json.loads((finished / "summary.json").read_text())
    del summary["consistency"]["overlap"]
    (finished / "summary.json").write_text(json.dumps(summary))
    answer = micromacro("check", finished, "--json")
    assert answer.code == 0
    assert json.loads(answer.out) == summary["consistency"]


def write_tables(out, case, *, error: float) -> None:
    """Tables with the exact answers plus a known error, one of them left empty."""
    z = np.linspace(-1.75, 1.75, 36)[:, None]
    exact = case.exact.free_energy(z)
    wrong = exact - np.min(exact) + error * np.where(np.arange(36) % 2, 1, -1)
    cells = [f"{centre:.17g},{value:.17g},0.05" for centre, value in zip(z[:, 0], wrong, strict=True)]
    lowest = int(np.argmin(exact))
    cells[lowest] = f"{z[lowest, 0]:.17g},,"
    (out / "free_energy.csv").write_text("\n".join(["z1,free_energy_kT,stderr_kT", *cells]) + "\n")
    weights = case.exact.hidden_weight(z) + 0.02
    cells = [f"{centre:.17g},{weight:.17g},0.1" for centre, weight in zip(z[:, 0], weights, strict=True)]
    (out / "closure.csv").write_text("\n".join(["z1,hidden_weight,hidden_weight_stderr", *cells]) + "\n")


def test_errors_against_the_exact_answer(pipeline, finished):
    case = pipeline.calls[-1].case
    write_tables(finished, case, error=0.1)
    errors = exact_errors(case, finished)
    assert errors["rms_free_energy_error_kT"] == pytest.approx(0.1, abs=0.005)
    assert errors["empty_cells"] == 1
    assert errors["hidden_weight_error"] == pytest.approx(0.02)
    assert mean_stderr(finished) == pytest.approx(0.05)


def test_runs_side_by_side(micromacro, pipeline, finished):
    write_tables(finished, pipeline.calls[-1].case, error=0.1)
    answer = micromacro("compare", finished, finished, "--json")
    first, second = json.loads(answer.out)
    assert first == second
    assert (first["out"], first["method"], first["force_evaluations"]) == (str(finished), "coupled", 1_000_000)
    assert first["consistency"]["overlap"]["passed"] is False
    table = micromacro("compare", finished, finished).out
    (row,) = [line for line in table.splitlines() if "F of right" in line]
    assert row.count("0.123 ± 0.02") == 2
