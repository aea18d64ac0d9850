"""`micromacro coarse`: the coarse variable of a finished run on given states."""

import json

import numpy as np
import pytest

from micromacro.cases.archive import archive_case
from micromacro.cases.file import load_case

STATES = np.array([[0.5, 1.0], [-1.25, 0.0], [2.0, -3.0]])


@pytest.fixture
def ended(tmp_path, summary):
    """The OUT of a run along x that has ended; its coarse variable needs nothing else of it."""
    out = tmp_path / "out"
    archive_case("hidden-barrier", [], out / "case")
    (out / "summary.json").write_text(json.dumps(summary))
    assert load_case("hidden-barrier").coarsen is None
    return out


def save(path, as_q: bool):
    if as_q:
        np.savez(path, q=STATES, z=np.zeros(1))
    else:
        np.save(path, STATES)
    return path


@pytest.mark.parametrize(("name", "as_q"), [("states.npy", False), ("states.npz", True)])
def test_values_of_states(micromacro, ended, tmp_path, name, as_q):
    file = tmp_path / "deep" / "values.npz"
    answer = micromacro("coarse", ended, save(tmp_path / name, as_q), "-o", file)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"Wrote {file}.\n"
    with np.load(file) as arrays:
        assert set(arrays) == {"q", "z"}
        np.testing.assert_array_equal(arrays["q"], STATES)
        np.testing.assert_array_equal(arrays["z"], STATES[:, :1])


def test_whole_numbers_are_states_too(micromacro, ended, tmp_path):
    np.save(tmp_path / "whole.npy", np.array([[1, 2]]))
    assert micromacro("coarse", ended, tmp_path / "whole.npy", "-o", tmp_path / "z.npz").code == 0
    assert np.load(tmp_path / "z.npz")["z"].tolist() == [[1.0]]


WRONG = {
    "another size": (np.zeros((4, 3)), "q must be observed states (n, 2); got shape (4, 3)."),
    "one state without rows": (
        np.zeros(2),
        "STATES must hold finite numbers of shape (n, D), or (n, atoms, 3) of a molecule; got float64 of shape (2,).",
    ),
    "not finite": (
        np.array([[0.0, np.nan]]),
        "STATES must hold finite numbers of shape (n, D), or (n, atoms, 3) of a molecule; got float64 of shape (1, 2).",
    ),
    "text": (
        np.array([["a", "b"]]),
        "STATES must hold finite numbers of shape (n, D), or (n, atoms, 3) of a molecule; got <U1 of shape (1, 2).",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_states_that_are_none(micromacro, ended, tmp_path, name):
    states, message = WRONG[name]
    np.save(tmp_path / "states.npy", states)
    answer = micromacro("coarse", ended, tmp_path / "states.npy", "-o", tmp_path / "z.npz")
    assert (answer.code, answer.out, answer.err) == (2, "", f"Error: {message}\n")
    assert not (tmp_path / "z.npz").exists()


def test_complex_numbers_are_refused(micromacro, ended, tmp_path):
    np.save(tmp_path / "states.npy", np.array([[1.0 + 1.0j, 2.0]]))
    answer = micromacro("coarse", ended, tmp_path / "states.npy", "-o", tmp_path / "z.npz")
    assert answer.code == 2
    assert answer.err.startswith("Error: STATES must hold finite numbers")


def test_files_that_hold_no_states(micromacro, ended, tmp_path):
    np.savez(tmp_path / "other.npz", states=STATES)
    (tmp_path / "text.npy").write_text("0.5 1.0\n")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:100])
    for name in ("other.npz", "cut.npz", "text.npy", "objects.npy", "empty.npy", "missing.npy"):
        answer = micromacro("coarse", ended, tmp_path / name, "-o", tmp_path / "z.npz")
        assert answer.code == 2, name
        assert answer.err.startswith("Error: STATES must be a .npy file of states, or an .npz file with q; got "), name
        assert answer.err.count("\n") == 1, name


def test_a_folder_without_a_run(micromacro, tmp_path):
    np.save(tmp_path / "states.npy", STATES)
    answer = micromacro("coarse", tmp_path / "none", tmp_path / "states.npy", "-o", tmp_path / "z.npz")
    assert answer.code == 2
    assert answer.err.startswith("Error: OUT must hold the results of a run")


def test_a_run_that_learned_nothing_yet(micromacro, tmp_path):
    """Its summary is there, its stages are gone."""
    out = tmp_path / "out"
    archive_case("half-moon-learned", [], out / "case")
    (out / "summary.json").write_text(json.dumps({"case": "half-moon-learned"}))
    np.save(tmp_path / "states.npy", STATES)
    answer = micromacro("coarse", out, tmp_path / "states.npy", "-o", tmp_path / "z.npz")
    assert answer.code == 2
    assert answer.err.startswith("Error: ")
    assert answer.err.count("\n") == 1
