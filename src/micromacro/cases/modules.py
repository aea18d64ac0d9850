"""The Python files that a case file names: imported one case apart from another, and known by their paths."""

import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from micromacro.cases.validation import shortened, suggestion
from micromacro.errors import InputError
from micromacro.reading import MOST_CASE_BYTES, MOST_TEXT_BYTES, why_unreadable

_numbers = itertools.count()


class Modules:
    """Finds `file.py:function` references relative to one case file.

    Each file is imported once, under a name of its own, so two cases may both have a `system.py`. While it is imported
    its folder comes first on the path, as for a script: files beside it can be imported by their names.

    **Arguments:**

    - `case_file`: what names are relative to.
    - `root`: a folder that no file may lie outside of, as for a case kept with results; anywhere where left out.
    """

    def __init__(self, case_file: Path, root: Path | None = None):
        self._case_file = case_file
        self._root = None if root is None else root.resolve()
        self._loaded: dict[Path, ModuleType] = {}
        self._files: set[Path] = set()

    @property
    def files(self) -> frozenset[Path]:
        """Every file of the user that was asked for or imported so far, those imported by others too."""
        return frozenset(self._files)

    def function(self, reference: str, key: str) -> Callable:
        """The function that a reference names; `key` is where the reference stands, for messages."""
        file_name, _, name = reference.partition(":")
        module = self._module(file_name, key)
        function = getattr(module, name, None)
        if not callable(function):
            requirement = f"name a function of '{shortened(file_name)}'"
            remedy = suggestion(name, (known for known, value in vars(module).items() if callable(value)))
            raise InputError(key, requirement, repr(name), source=str(self._case_file), remedy=remedy)
        return function

    def data_file(self, file_name: str, key: str) -> Path:
        """A file that the case names and that is no Python file; kept among `files`."""
        path = self._path(file_name, key, "name a file that exists", MOST_TEXT_BYTES)
        self._files.add(path)
        return path

    def has(self, file_name: str) -> bool:
        """Whether there is such a file, relative to the case file."""
        return not Path(file_name).is_absolute() and why_unreadable(self._case_file.parent / file_name) is None

    def _path(self, file_name: str, key: str, requirement: str, most: int) -> Path:
        source = str(self._case_file)
        if Path(file_name).is_absolute():
            given = repr(shortened(file_name))
            raise InputError(key, "name a file relative to the case file", given, source=source)
        path = self._case_file.parent / file_name
        if (reason := why_unreadable(path, most)) is not None:
            raise InputError(key, requirement, f"'{shortened(file_name)}' ({reason})", source=source)
        path = path.resolve()
        if self._root is not None and not path.is_relative_to(self._root):
            given = f"'{file_name}', outside of {self._root}"
            raise InputError(key, "name a file that was kept with the results", given, source=source)
        return path

    def _module(self, file_name: str, key: str) -> ModuleType:
        source = str(self._case_file)
        path = self._path(file_name, key, "name a Python file that exists", MOST_CASE_BYTES)
        if path not in self._loaded:
            try:
                self._loaded[path] = self._import(path)
            except Exception as error:
                given = f"{type(error).__name__} in '{file_name}': {error}"
                raise InputError(key, "name a file that can be imported", given, source=source) from error
        return self._loaded[path]

    def _import(self, path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"micromacro_case_{next(_numbers)}_{path.stem}", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[module.__name__] = module
        with _beside(path.parent) as neighbours:
            spec.loader.exec_module(module)
        self._files |= {path, *neighbours}
        return module


@contextmanager
def _beside(folder: Path) -> Iterator[set[Path]]:
    """Let the files of a folder be imported by name; yields a set that holds, in the end, those that were.

    Modules of the same name that were there before are put aside meanwhile; the folder's own are forgotten afterwards,
    so that another case with a file of the same name gets its own.
    """

    def is_local(name: str) -> bool:
        top = name.partition(".")[0]
        there = (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file()
        return there and top not in ("micromacro", "__main__")

    aside = {name: sys.modules.pop(name) for name in list(sys.modules) if is_local(name)}
    sys.path.insert(0, str(folder))
    imported: set[Path] = set()
    try:
        yield imported
    finally:
        sys.path.remove(str(folder))
        mine = {name: sys.modules.pop(name) for name in list(sys.modules) if is_local(name)}
        imported.update(Path(module.__file__) for module in mine.values() if module.__file__)
        sys.modules.update(aside)
