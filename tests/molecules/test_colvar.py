import gzip

import numpy as np
import pytest

from micromacro.errors import InputError
from micromacro.molecules.colvar import read_colvar, read_number, write_colvar

TWO_RUNS = """#! FIELDS time phi restraint.bias
#! SET min_phi -pi
#! SET max_phi pi
 0.000000 -1.5 0.25
 1.000000 -1.4 0.5   # a remark
 2.000000 -1.3 0.75
#! FIELDS time phi restraint.bias
#! SET min_phi -pi
#! SET max_phi pi

 1.000000 1.4 5.0
 2.000000 1.3 7.5
 3.000000 1.2 8.5
"""


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "COLVAR"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


def test_restarted_run_counts_once(write):
    colvar = read_colvar(write(TWO_RUNS))
    assert colvar.names == ("time", "phi", "restraint.bias")
    assert np.array_equal(colvar.column("time"), [0, 1, 2, 3])
    assert np.array_equal(colvar.column("phi"), [-1.5, 1.4, 1.3, 1.2])
    assert colvar.domain("phi") == (-np.pi, np.pi)
    assert colvar.domain("restraint.bias") is None
    with pytest.raises(InputError, match=r"column must be one of time, phi, restraint\.bias; got 'psi'"):
        colvar.column("psi")


def test_what_is_written_is_read_to_the_last_digit(tmp_path):
    values = np.column_stack([np.arange(5.0), np.random.default_rng(0).normal(size=(5, 2)) * [1e-12, 1e9]])
    constants = {"min_phi": "-pi", "max_phi": "pi"}
    write_colvar(tmp_path / "COLVAR", ["time", "phi", "x"], values, constants)
    found = read_colvar(tmp_path / "COLVAR")
    assert np.array_equal(found.values, values)
    assert found.constants == constants


def test_compressed_files_are_read(tmp_path):
    with gzip.open(tmp_path / "COLVAR.gz", "wt", encoding="utf-8") as file:
        file.write(TWO_RUNS)
    assert len(read_colvar(tmp_path / "COLVAR.gz")) == 4


def test_a_line_that_was_cut_off_is_left_out(write):
    assert len(read_colvar(write(TWO_RUNS + " 4.000000 1."))) == 4


@pytest.mark.parametrize(
    ("text", "number"), [("1.5", 1.5), ("-pi", -np.pi), ("+pi", np.pi), ("2*pi", 2 * np.pi), ("-pi/2", -np.pi / 2)]
)
def test_numbers_of_plumed(text, number):
    assert read_number(text) == pytest.approx(number, abs=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" 1.0 2.0\n", "line 1 must come after a line '#! FIELDS"),
        ("", "begin with a line '#! FIELDS"),
        ("#! FIELDS time phi\n 1.0 2.0\n 2.0\n", r"line 3 must hold 2 numbers \(time phi\); got 1: 2.0"),
        ("#! FIELDS time phi\n 1.0 2.0 3.0\n", "line 2 must hold 2 numbers"),
        ("#! FIELDS time phi\n 1.0 x\n", "line 2, column phi must be a finite number; got 'x'"),
        ("#! FIELDS time phi\n 1.0 nan\n", "line 2, column phi must be a finite number; got 'nan'"),
        ("#! FIELDS time phi\n 1.0 spin\n", "line 2, column phi must be a finite number"),
        ("#! FIELDS time phi phi\n", "line 1 must name columns, each once"),
        ("#! FIELDS time phi\n#! SET min_phi\n", "line 2 must be '#! SET name value'"),
        ("#! FIELDS time phi\n 1.0 2.0\n#! FIELDS time psi\n", "line 3 must name the columns of the header before it"),
        ("#! FIELDS time phi\n 0 2.0\n 1 2.0\n 0 2.0\n", "line 4 must go on after time 0, where this file begins"),
    ],
)
def test_malformed_files_name_the_file_and_the_line(write, text, message):
    path = write(text)
    with pytest.raises(InputError, match=message) as error:
        read_colvar(path)
    assert str(path) in str(error.value)


def test_missing_file_and_wrong_names(tmp_path):
    with pytest.raises(InputError, match=r"be a file that can be read; got no such file"):
        read_colvar(tmp_path / "COLVAR")
    with pytest.raises(InputError, match="be 2 words"):
        write_colvar(tmp_path / "COLVAR", ["time", "a phi"], np.zeros((1, 2)))
