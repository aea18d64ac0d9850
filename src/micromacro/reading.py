"""Files of strangers: only regular files of bounded size are opened, and names that they hold stay in their folder."""

import bz2
import gzip
import json
import math
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from micromacro.errors import MicromacroError, StoreError

MEBIBYTE = 2**20
MOST_CASE_BYTES = 16 * MEBIBYTE
"""Of a case file, of a Python file beside it, and of the JSON of results."""
MOST_TEXT_BYTES = 512 * MEBIBYTE
"""Of a structure, a topology, a force field, a serialised System, a COLVAR file or a table, when unpacked."""
NO_FILE = "no such file"
MOST_NESTED = 64
"""Tables within tables, of TOML and of JSON."""
LONGEST_NUMBER = 400
"""Digits of a whole number in JSON; of all numbers that a result may hold none has more."""
MOST_ENTRIES = 1_000_000
"""Files of a folder of results."""


def why_unreadable(path: Path, most: int | None = None) -> str | None:
    """Why a file is not read: it is missing, no regular file (a folder, a device, a pipe) or too large; else `None`.

    Pipes and devices are never opened, for that may never end.

    **Arguments:**

    - `most`: bytes; any size where left out.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        return _reason(error)
    if not stat.S_ISREG(found.st_mode):
        return "no regular file"
    if most is not None and found.st_size > most:
        return f"{found.st_size:,} bytes, and at most {most:,} are read"
    return None


def why_unpacks_too_large(path: Path, most: int = MOST_TEXT_BYTES) -> str | None:
    """Why a file compressed by gzip or bzip2 is not read: it is damaged, or holds too many bytes; else `None`."""
    opened, left = bz2.open if path.suffix == ".bz2" else gzip.open, most
    try:
        with opened(path, "rb") as file:
            while block := file.read(min(MEBIBYTE, left + 1)):
                left -= len(block)
                if left < 0:
                    return f"more than {most:,} bytes when unpacked"
    except (OSError, EOFError, ValueError, zlib.error) as error:
        return str(error)
    return None


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return NO_FILE
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def read_text(path: Path, most: int = MOST_CASE_BYTES) -> str:
    """The text of a file of results.

    **Raises:** `StoreError` for one that is no regular file, is too large or holds no UTF-8.
    """
    reason = why_unreadable(path, most)
    try:
        if reason is None:
            return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = str(error)
    raise StoreError(f"{path} cannot be read: {reason}.")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of results.

    **Raises:** `StoreError` for anything else than one object, for tables nested too deeply, and as `read_text` does.
    """
    text = read_text(path)
    try:
        found = parse_json(text)
    except ValueError as error:
        raise StoreError(f"{path} must be JSON; got {error}.") from error
    if not isinstance(found, dict):
        raise StoreError(f"{path} must hold one JSON object; got a {type(found).__name__}.")
    return found


def parse_json(text: str) -> Any:
    """What a text of JSON stands for. **Raises:** `ValueError` for other text, and for what is nested too deeply."""
    found, deep = None, True
    try:
        found = json.loads(text, parse_int=_whole_number)
        deep = nesting(found) > MOST_NESTED
    except RecursionError:
        pass
    if deep:
        raise ValueError(f"tables nested deeper than {MOST_NESTED}")
    return found


def _whole_number(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def nesting(value: Any) -> int:
    """How deep tables and lists lie within each other; 0 for a value that is neither."""
    deepest, left = 0, [(value, 0)]
    while left:
        one, depth = left.pop()
        if isinstance(one, (dict, list)):
            deepest = max(deepest, depth + 1)
            left += [(part, depth + 1) for part in (one.values() if isinstance(one, dict) else one)]
    return deepest


def number_in(record: dict[str, Any], key: str) -> float:
    """A finite number of a JSON object that is not negative. **Raises:** `StoreError` for anything else."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise StoreError(f"{key} must be a number, finite and not negative; got {value!r}.")
    return value


def within(folder: Path, name: str) -> Path:
    """The file of a name that results or an archive hold: always one in their folder.

    **Raises:** `StoreError` for a name that leads out of it, by itself or by a link.
    """
    try:
        root, path = folder.resolve(), (folder / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(f"{name!r} must be the name of a file in {folder}; got {error}.") from error
    if not path.is_relative_to(root):
        raise StoreError(f"{name!r} must be the name of a file in {folder}; it leads to {path}.")
    return path


def refuse_links_out(folder: Path, error: type[MicromacroError] = StoreError) -> None:
    """Refuse a folder of results in which something leads out of it, or is neither a file nor a folder.

    What is written there could otherwise overwrite files elsewhere. The folder itself may be a link.

    **Raises:** `StoreError` that names the first such entry, and for a folder with too many.
    """
    root = folder.resolve()
    for number, entry in enumerate(_entries(folder)):
        if number >= MOST_ENTRIES:
            raise error(f"{folder} must hold at most {MOST_ENTRIES:,} files. Choose another OUT.")
        path = Path(entry.path)
        if entry.is_symlink() and not _target(path).is_relative_to(root):
            raise error(f"{path} must not lead out of {folder}; it is a link to {os.readlink(path)}. Remove it.")
        if not (entry.is_file() or entry.is_dir() or entry.is_symlink()):
            raise error(f"{path} must be a file or a folder; it is a pipe, a socket or a device. Remove it.")


def _entries(folder: Path) -> Iterator[os.DirEntry]:
    left = [folder]
    while left:
        try:
            with os.scandir(left.pop()) as found:
                entries = list(found)
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield from entries
        left += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]


def _target(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        # a link to itself leads nowhere
        return path.absolute().parent.resolve() / path.name
