"""XML files of strangers, looked at before OpenMM reads them, for OpenMM runs Python that it finds in some.

A force field may hold scripts and a System a pickled function: both are refused, except in the force fields that OpenMM
itself installs. So are entities, elements nested too deeply and expressions that would exhaust the stack.
"""

import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import openmm
from openmm import app

from micromacro.errors import InputError
from micromacro.reading import MOST_TEXT_BYTES, why_unreadable

MOST_NESTED = 64
"""Elements within elements."""
MOST_BRACKETS, LONGEST_VALUE = 100, 5000
"""Brackets within each other and characters of an attribute, such as an expression: OpenMM takes ever longer."""
RUNS_PYTHON = ("Script", "InitializationScript")
TRUTHS = ("True", "False", "true", "false", "0", "1")
"""OpenMM evaluates this attribute of a force field as Python."""
DISPERSION = "useDispersionCorrection"
PICKLED = "PythonForce"
TYPES = frozenset(
    name
    for name, kind in vars(openmm).items()
    if isinstance(kind, type) and issubclass(kind, (openmm.Force, openmm.TabulatedFunction)) and name != PICKLED
) | {"System"}
"""What a serialised System may hold; forces of plugins could read files or run programs."""

Attributes = dict[str, str]


def system_text(path: Path, key: str, source: str | None) -> str:
    """The text of a serialised System, written anew from what it holds.

    **Arguments:**

    - `key`, `source`: of the case file, for messages.

    **Raises:** `InputError` for a file that is not read, is no XML, or holds a pickled function or a force of a plugin.
    """

    def check(tag: str, attributes: Attributes) -> str | None:
        kind = attributes.get("type")
        if kind is not None and tag != "Particle" and kind not in TYPES:
            return f"a {kind}, which may run a program"
        return None

    root = _parsed(path, key, "name a serialised OpenMM System", source, check)
    return ElementTree.tostring(root, encoding="unicode")


def forcefield_paths(files: Sequence[str], key: str, source: str | None) -> list[str]:
    """Where the files of a force field are, by name of OpenMM or by path, every other one looked at.

    **Raises:** `InputError` for names that are neither; and as `system_text` does, for scripts.
    """
    paths = [_located(Path(name), key, source) for name in files]
    left, seen = [path for path in paths if not _is_installed(path)], set()
    while left:
        path = left.pop()
        if path in seen:
            continue
        seen.add(path)
        root = _parsed(path, key, "name force-field files that can be read", source, _runs_python)
        for element in root.findall("Include"):
            included = _located(Path(element.get("file", "")), key, source, path.parent)
            if not _is_installed(included):
                left.append(included)
    return [str(path) for path in paths]


def installed_folders() -> list[Path]:
    """Where OpenMM and packages beside it install force fields."""
    folders = [Path(app.__file__).parent / "data"]
    entries = importlib.metadata.entry_points(group="openmm.forcefielddir")
    folders += [Path(entry.load()()) for entry in entries]
    return [folder.resolve() for folder in folders]


class MissingFileError(InputError):
    """A force-field file that is nowhere; `name` is how it was named."""

    def __init__(self, name: str, key: str, source: str | None, remedy: str | None = None):
        self.name = name
        requirement = "name files beside the case file or of OpenMM"
        super().__init__(key, requirement, f"'{name}' (no such file)", source=source, remedy=remedy)


def _located(name: Path, key: str, source: str | None, beside: Path | None = None) -> Path:
    """The file of a name: an absolute path, one beside the file that includes it, or one that OpenMM installs."""
    folders = [] if beside is None else [beside]
    for folder in [*folders, *installed_folders()]:
        path = (folder / name).resolve()
        if why_unreadable(path) is None and (name.is_absolute() or path.is_relative_to(folder.resolve())):
            if beside is not None and name.is_absolute():
                break
            return path
    raise MissingFileError(str(name), key, source)


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in installed_folders())


def _runs_python(tag: str, attributes: Attributes) -> str | None:
    if tag in RUNS_PYTHON:
        return f"a <{tag}>, which is Python that OpenMM would run"
    if attributes.get(DISPERSION, TRUTHS[0]) not in TRUTHS:
        return f'{DISPERSION}="{attributes[DISPERSION][:60]}", which is neither True nor False'
    return None


def _parsed(
    path: Path,
    key: str,
    requirement: str,
    source: str | None,
    check: Callable[[str, Attributes], str | None],
) -> ElementTree.Element:
    reason = why_unreadable(path, MOST_TEXT_BYTES)
    if reason is None:
        content = path.read_bytes()
        reason = _why_refused(content, check)
        if reason is None:
            return ElementTree.fromstring(content)
    raise InputError(key, requirement, f"'{path.name}' ({reason})", source=source)


def _why_refused(content: bytes, check: Callable[[str, Attributes], str | None]) -> str | None:
    """The first thing that no file of strangers may hold; `None` where there is nothing of the kind."""
    found: list[str] = []
    depth = 0

    def start(tag: str, attributes: Attributes) -> None:
        nonlocal depth
        depth += 1
        wrong = check(tag, attributes)
        if depth > MOST_NESTED:
            wrong = f"elements nested deeper than {MOST_NESTED}"
        elif any(map(_is_endless, attributes.values())):
            wrong = f"an expression longer than {LONGEST_VALUE} or with {MOST_BRACKETS} brackets within each other"
        if wrong is not None:
            refuse(wrong)

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(what: str) -> None:
        found.append(what)
        raise ValueError(what)

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = lambda *_: refuse("a document type, which may hold entities")
    try:
        parser.Parse(content, True)
    except (ValueError, expat.ExpatError, LookupError) as error:
        return found[0] if found else str(error)
    return None


def _is_endless(value: str) -> bool:
    return len(value) > LONGEST_VALUE or _brackets(value) > MOST_BRACKETS


def _brackets(text: str) -> int:
    """How many brackets lie within each other, at most."""
    deepest = depth = 0
    for letter in text if "(" in text else "":
        depth += (letter == "(") - (letter == ")")
        deepest = max(deepest, depth)
    return deepest
