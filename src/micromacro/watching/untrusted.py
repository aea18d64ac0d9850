"""Files and values that anybody may have written: bounded, of the right type, and fit to be shown on a terminal."""

import json
import math
import os
import stat
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 2**24
MOST_CHARACTERS = 200
LARGEST = 1e15
"""Numbers beyond are none of ours."""


def text(value: object, most: int = MOST_CHARACTERS) -> str | None:
    r"""A text of bounded length without anything that a terminal would obey; none where it is no text.

    >>> text("a\x1b[2Jb"), text(3)
    ('a?[2Jb', None)
    """
    if not isinstance(value, str):
        return None
    return "".join(letter if letter.isprintable() else "?" for letter in value[:most])


def number(value: object) -> float | None:
    """A number from 0 up to 10¹⁵; none where it is no such number.

    >>> number(2), number(-1.0), number(float("nan")), number(True)
    (2.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
        return None
    return float(value) if math.isfinite(value) else None


def count(value: object) -> int | None:
    """A whole number from 0 up to 10¹⁵; none where it is no such number.

    >>> count(3), count(3.5)
    (3, None)
    """
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def open_to_read(path: Path) -> BinaryIO:
    """A file that is read without waiting for anybody, as one would for a pipe. **Raises:** `OSError`."""
    return open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def regular_size(descriptor: int) -> int:
    """Bytes in a regular file. **Raises:** `OSError` where it is none, but a pipe or a device."""
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        raise OSError("it is no regular file")
    return state.st_size


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """What a file holds; nothing where it is missing, no regular file or larger than `most`."""
    try:
        with open_to_read(path) as file:
            return file.read(most) if regular_size(file.fileno()) <= most else b""
    except OSError:
        return b""


def read_object(path: Path) -> dict:
    """The JSON object in a file; an empty one where there is none."""
    try:
        record = json.loads(read_bytes(path))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
