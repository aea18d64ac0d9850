import json
import shutil

import jax.numpy as jnp
import pytest

from micromacro.cases.archive import archive_case, overrides_to_resume, restore_case
from micromacro.errors import InputError, StoreError


def test_case_survives_its_original(case_file, tmp_path):
    archive_case(case_file, ["bias.steps=11"], tmp_path / "out" / "case")
    shutil.move(tmp_path / "out", tmp_path / "moved")
    for name in ("case.toml", "system.py", "constants.py"):
        (tmp_path / name).unlink()
    case = restore_case(tmp_path / "moved" / "case")
    assert (case.name, case.bias.steps) == (str(case_file), 11)
    assert case.system.potential(jnp.zeros(2)) == 8.0


def test_files_above_the_case_file_are_kept_too(case_file, tmp_path):
    below = tmp_path / "below"
    below.mkdir()
    (below / "case.toml").write_text(case_file.read_text().replace("system.py:", "../system.py:"))
    archive_case(below / "case.toml", [], tmp_path / "kept")
    assert (tmp_path / "kept" / "below" / "case.toml").exists()
    assert restore_case(tmp_path / "kept").title == "Two wells"


def test_builtin_case_is_kept_by_name(tmp_path):
    archive_case("hidden-barrier", ["seed=4"], tmp_path / "case")
    assert json.loads((tmp_path / "case" / "case.json").read_text()) == {
        "name": "hidden-barrier",
        "file": None,
        "overrides": ["seed=4"],
    }
    assert restore_case(tmp_path / "case").seed == 4


def test_nothing_kept(tmp_path):
    with pytest.raises(StoreError, match="must exist"):
        restore_case(tmp_path)


def test_damaged_record(tmp_path):
    (tmp_path / "case.json").write_text('{"name": 3, "other": 4}')
    with pytest.raises(StoreError, match="cannot be read"):
        restore_case(tmp_path)


def test_resuming_remembers_overrides_and_adds_settings(case_file, tmp_path):
    archive_case(case_file, ["seed=4"], tmp_path / "case")
    resumed = overrides_to_resume(case_file, ["budget.force_evaluations=1e9"], tmp_path / "case")
    assert resumed == ["seed=4", "budget.force_evaluations=1e9"]
    assert overrides_to_resume(case_file, ["seed=4"], tmp_path / "case") == ["seed=4", "seed=4"]


def test_resuming_with_another_physics_is_refused(case_file, tmp_path):
    archive_case(case_file, ["seed=4"], tmp_path / "case")
    with pytest.raises(InputError, match=r"--resume must keep the case as the run was begun; got 'system.kT=2'"):
        overrides_to_resume(case_file, ["seed=5", "system.kT=2"], tmp_path / "case")


def test_resuming_another_case_is_refused(case_file, tmp_path):
    archive_case(case_file, [], tmp_path / "case")
    with pytest.raises(InputError, match="go on with the case that the run was begun with"):
        overrides_to_resume("hidden-barrier", [], tmp_path / "case")
    (case_file.parent / "constants.py").write_text("HEIGHT = 5.0\n")
    with pytest.raises(InputError, match="which differs"):
        overrides_to_resume(case_file, [], tmp_path / "case")


def test_a_second_case_replaces_the_first(case_file, tmp_path):
    archive_case(case_file, [], tmp_path / "out" / "case")
    archive_case("hidden-barrier", [], tmp_path / "out" / "case")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["case"]
    assert [path.name for path in (tmp_path / "out" / "case").iterdir()] == ["case.json"]


@pytest.mark.parametrize("record", [{"name": "x", "file": "../case.toml"}, {"name": "x", "file": "/etc/passwd"}])
def test_a_kept_case_lies_in_its_folder(case_file, tmp_path, record):
    archive_case(case_file, [], tmp_path / "out" / "case")
    (tmp_path / "out" / "case" / "case.json").write_text(json.dumps(record | {"overrides": []}))
    with pytest.raises(StoreError, match="must be the name of a file in"):
        restore_case(tmp_path / "out" / "case")


def test_files_of_a_kept_case_lie_in_its_folder(case_file, tmp_path):
    folder = tmp_path / "out" / "case"
    archive_case(case_file, [], folder)
    (tmp_path / "evil.py").write_text("raise SystemExit")
    kept = folder / "case.toml"
    kept.write_text(kept.read_text().replace("system.py:potential", "../../evil.py:potential"))
    with pytest.raises(InputError, match=r"must name a file that was kept with the results; got '../../evil\.py'"):
        restore_case(folder)


def test_a_record_without_a_file_names_a_builtin_case(case_file, tmp_path):
    archive_case("hidden-barrier", [], tmp_path / "case")
    (tmp_path / "case" / "case.json").write_text(json.dumps({"name": str(case_file), "file": None, "overrides": []}))
    with pytest.raises(StoreError, match="name must be that of a built-in case"):
        restore_case(tmp_path / "case")
