"""From a case file, or the name of a built-in case, to a `Case` that can be computed."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from micromacro.cases.build import build_case, with_settings
from micromacro.cases.builtin import builtin_cases
from micromacro.cases.case import Case
from micromacro.cases.modules import Modules
from micromacro.cases.overrides import place_of, with_overrides
from micromacro.cases.schema import CaseFile, Settings
from micromacro.cases.validation import shortened, suggestion, validate
from micromacro.errors import InputError
from micromacro.reading import MOST_CASE_BYTES, MOST_NESTED, NO_FILE, nesting, why_unreadable


def load_case(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Case:
    """The case that a file or a built-in name stands for, checked as far as it can be without simulating.

    **Arguments:**

    - `path_or_name`: path of a case file, or the name of a built-in case.
    - `overrides`: texts `section.key=value` that replace keys of the file, or settings of the built-in case.
    """
    name = str(path_or_name)
    if is_builtin(name):
        settings = validate(Settings, with_overrides({}, overrides), place_of(name, overrides))
        return with_settings(builtin_cases()[name](), settings)
    return read_case_file(Path(path_or_name), overrides)[0]


def is_builtin(name: str) -> bool:
    """Whether the name is that of a built-in case; an error where it is neither that nor a file."""
    known = builtin_cases()
    if name in known:
        return True
    if (reason := why_unreadable(Path(name), MOST_CASE_BYTES)) is not None:
        if reason != NO_FILE:
            raise InputError("CASE", "be a case file that can be read", f"{shortened(name)!r} ({reason})")
        remedy = suggestion(name, known) or "'micromacro cases' lists the built-in ones."
        raise InputError("CASE", "be a built-in case or the path of a case file", repr(shortened(name)), remedy=remedy)
    return False


def read_case_file(path: Path, overrides: Sequence[str] = (), root: Path | None = None) -> tuple[Case, frozenset[Path]]:
    """The case of a file, and every Python file of the user that it needs.

    **Arguments:**

    - `root`: a folder that no file of the case may lie outside of; anywhere where left out.
    """
    content = validate(CaseFile, with_overrides(_tables(path), overrides), place_of(str(path), overrides))
    modules = Modules(path, root)
    return build_case(content, path, modules), modules.files


def _tables(path: Path) -> dict[str, Any]:
    tables, deep = {}, True
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        deep = nesting(tables) > MOST_NESTED
    except RecursionError:
        pass
    # numbers of thousands of digits are a ValueError of Python's own
    except ValueError as error:
        raise InputError("a case file", "be valid TOML", error, source=str(path)) from error
    if deep:
        requirement = f"hold tables and lists nested at most {MOST_NESTED} deep"
        raise InputError("a case file", requirement, "deeper ones", source=str(path))
    return tables
