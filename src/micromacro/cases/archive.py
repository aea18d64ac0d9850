"""A case kept beside its results, so that they can be read again after the original has changed or gone."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from micromacro.cases.builtin import builtin_cases
from micromacro.cases.case import Case
from micromacro.cases.file import is_builtin, load_case, read_case_file
from micromacro.cases.overrides import with_overrides
from micromacro.cases.schema import Settings
from micromacro.errors import InputError, StoreError
from micromacro.reading import MOST_CASE_BYTES, read_json, why_unreadable, within

RECORD = "case.json"
ANOTHER = "Give another OUT for it."


@dataclass(frozen=True)
class CaseRecord:
    """What `case.json` holds.

    **Arguments:**

    - `name`: the case as the user named it.
    - `file`: the copy of the case file, relative to the folder; `None` for a built-in case.
    - `overrides`: texts `section.key=value` that the user set.
    """

    name: str
    file: str | None
    overrides: list[str]

    @classmethod
    def read(cls, folder: Path) -> "CaseRecord":
        """The record in a folder; an error that says how it comes to be missing."""
        if not (folder / RECORD).exists():
            raise StoreError(
                f"{folder / RECORD} must exist, and there is none: the folder holds no run of 'micromacro run'. "
                "A run that was started from Python is read with Result.load(out, case)."
            )
        try:
            record = cls(**read_json(folder / RECORD))
        except TypeError as error:
            raise StoreError(f"{folder / RECORD} cannot be read: {error}") from error
        record._check(folder / RECORD)
        return record

    def _check(self, path: Path) -> None:
        texts = isinstance(self.overrides, list) and all(isinstance(text, str) for text in self.overrides)
        if not isinstance(self.name, str) or not isinstance(self.file, (str, type(None))) or not texts:
            raise StoreError(f"{path} cannot be read: it must hold a name, a file or null, and a list of overrides.")


def archive_case(path_or_name: str | Path, overrides: Sequence[str], folder: Path) -> None:
    """Copy a case, with every Python file of the user that it needs, into a folder of its own.

    **Arguments:**

    - `path_or_name`: path of a case file, or the name of a built-in case.
    - `overrides`: texts `section.key=value`.
    - `folder`: made where it is missing; a case that was kept there before is replaced. It appears only when it is
      whole, so a run that is killed meanwhile can be resumed.
    """
    files, case_file = _files(path_or_name, overrides)
    record = CaseRecord(str(path_or_name), case_file, list(overrides))
    files[RECORD] = (json.dumps(asdict(record), indent=2) + "\n").encode()
    partial, old = folder.with_name(f".{folder.name}.partial"), folder.with_name(f".{folder.name}.old")
    shutil.rmtree(partial, ignore_errors=True)
    for name, content in files.items():
        target = partial / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def restore_case(folder: Path) -> Case:
    """The case that `archive_case` kept in a folder, under the name that the user gave it.

    **Raises:** `StoreError` and `InputError` for a record or a case that names files outside of the folder.
    """
    record = CaseRecord.read(folder)
    if record.file is None:
        if record.name not in builtin_cases():
            raise StoreError(f"{folder / RECORD}: name must be that of a built-in case; got {record.name!r}.")
        return load_case(record.name, record.overrides)
    path = within(folder, record.file)
    if (reason := why_unreadable(path, MOST_CASE_BYTES)) is not None:
        raise StoreError(f"{path}, the case that was kept, cannot be read: {reason}.")
    return replace(read_case_file(path, record.overrides, root=folder)[0], name=record.name)


def overrides_to_resume(path_or_name: str | Path, overrides: Sequence[str], folder: Path) -> list[str]:
    """The overrides with which a run goes on: those it was begun with, and then those given now.

    Refuses another case, and another physics than the run was begun with. Settings are left to the run: it knows which
    of them may change.
    """
    record = CaseRecord.read(folder)
    for text in overrides:
        if _physics([*record.overrides, text]) != _physics(record.overrides):
            raise InputError("--resume", "keep the case as the run was begun", repr(text), remedy=ANOTHER)
    files, case_file = _files(path_or_name, record.overrides)
    same_name = case_file == record.file and (case_file is not None or str(path_or_name) == record.name)
    if not same_name or any(_content(folder / name) != content for name, content in files.items()):
        requirement = f"go on with the case that the run was begun with, kept in {folder}"
        raise InputError("--resume", requirement, f"{path_or_name}, which differs", remedy=ANOTHER)
    return [*record.overrides, *overrides]


def _physics(overrides: Sequence[str]) -> dict[str, Any]:
    """What the overrides change beside the settings."""
    settings = Settings.model_fields.keys() - {"coarse"}
    return {key: value for key, value in with_overrides({}, overrides).items() if key not in settings}


def _files(path_or_name: str | Path, overrides: Sequence[str]) -> tuple[dict[str, bytes], str | None]:
    """The user's files by their paths relative to the folder that holds all of them; which one is the case file."""
    if is_builtin(str(path_or_name)):
        return {}, None
    case_file = Path(path_or_name).resolve()
    files = [case_file, *read_case_file(case_file, overrides)[1]]
    root = Path(os.path.commonpath([file.parent for file in files]))
    return {str(file.relative_to(root)): file.read_bytes() for file in files}, str(case_file.relative_to(root))


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if why_unreadable(path) is None else None
