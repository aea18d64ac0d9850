from pathlib import Path

import pytest
from pydantic import ValidationError

from micromacro.cases.data_sections import DataSection, build_data
from micromacro.errors import InputError
from micromacro.molecules.data_files import Umbrella

LEAST = {"topology": "top.pdb", "trajectories": "run.xtc"}
FOLDER = Path("case")


def built(size=1, **settings):
    return build_data(DataSection.model_validate(LEAST | settings), FOLDER, size)


def test_least_that_must_be_said():
    data = built()
    assert data.files == (FOLDER / "top.pdb", FOLDER / "run.xtc")
    assert (data.discard, data.stride, data.times, data.selection) == (0, 1, None, "all")


def test_windows_and_columns():
    windows = [{"at": [0.0, 1.0], "kappa": 100.0}, {"at": [0.5, 1.0], "kappa": [100.0, 50.0]}]
    data = built(2, trajectories=["a.dcd", "b.dcd"], windows=windows, times=[0.0, 2.0], stride=2e0)
    assert data.windows == (Umbrella((0.0, 1.0), (100.0, 100.0)), Umbrella((0.5, 1.0), (100.0, 50.0)))
    assert data.times == (0.0, 2.0)
    data = built(colvar="COLVAR", bias="opes.bias", coarse="phi")
    assert (data.colvar, data.bias, data.coarse) == ((FOLDER / "COLVAR",), ("opes.bias",), ("phi",))


@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 0},
        {"discard": -1},
        {"times": [0.0]},
        {"times": [0.0, 0.0]},
        {"trajectories": []},
        {"windows": [{"at": [0.0]}]},
        {"windows": [{"at": [0.0], "kappa": -1.0}]},
        {"windows": [{"at": [0.0, 1.0, 2.0], "kappa": [1.0, 1.0]}]},
        {"trajectory": "run.xtc"},
    ],
)
def test_values_that_are_refused(settings):
    with pytest.raises(ValidationError):
        DataSection.model_validate(LEAST | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"windows": [{"at": [0.0, 1.0], "kappa": 1.0}]}, r"data\.windows\[0\]\.at must have 1 entries"),
        ({"colvar": "COLVAR", "coarse": ["phi", "psi"]}, r"data\.coarse must have 1 entries"),
        ({"bias": "opes.bias"}, r"data\.bias must be left out where there is no colvar"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(InputError, match=message):
        built(**settings)
