"""Arrays in `.npy` and `.npz` files of strangers: never unpickled, and never larger than their file holds."""

import math
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipExtFile, ZipFile

import numpy as np
from numpy.lib import format as npy

from micromacro.reading import why_unreadable

MOST_BYTES = 8 * 2**30
"""Of one array."""
READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_array(path: Path, name: str | None = None) -> np.ndarray:
    """The array of a `.npy` file; of a `.npz` file the one of that name.

    **Raises:** `ValueError` for a file that is no regular file or holds something else, Python objects among it, and
    for an array that is larger than the file or than 8 GiB.
    """
    if (reason := why_unreadable(path)) is not None:
        raise ValueError(reason)
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            file.seek(0)
            return _read(file, size)
    if name is None:
        raise ValueError("an archive of arrays, where one array is wanted")
    return _read_member(path, f"{name}.npy")


def _read_member(path: Path, name: str) -> np.ndarray:
    try:
        with ZipFile(path) as archive:
            size = archive.getinfo(name).file_size
            with archive.open(name) as file:
                return _read(file, size)
    except (BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(str(error)) from error


def _read(file: IO[bytes] | ZipExtFile, size: int) -> np.ndarray:
    """The array at the beginning of a file, once its header is no larger than the file."""
    version = npy.read_magic(file)
    if version not in READERS:
        raise ValueError(f"version {version} of the format, and 1.0 or 2.0 is read")
    try:
        shape, fortran, kind = READERS[version](file)
    # what is no literal of Python fails in its parser in every way; it is never evaluated
    except Exception as error:
        raise ValueError(f"a header that cannot be read: {error}") from error
    if kind.hasobject or kind.fields is not None:
        raise ValueError(f"{kind}, and plain numbers are read")
    claimed = math.prod(shape) * kind.itemsize
    if claimed > min(size, MOST_BYTES):
        raise ValueError(f"a header that claims {claimed:,} bytes, in a file of {size:,}")
    content = file.read(claimed)
    if len(content) < claimed:
        raise ValueError(f"{len(content):,} of {claimed:,} bytes")
    return np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")
