"""What a stage on disk may hold: plain numbers of bounded size, as zarr's own files describe them.

Looked at before anything is read: a few bytes can claim an array of petabytes, and some kinds of array are unpickled.
"""

import math
import os
from pathlib import Path
from typing import Any

from micromacro.errors import StoreError
from micromacro.reading import read_json, why_unreadable

FORMAT = 3
"""Of zarr. Version 2 is refused: its filters can hold Python objects."""
BYTES = {
    "bool": 1,
    **{f"{sign}int{8 * size}": size for sign in ("", "u") for size in (1, 2, 4, 8)},
    **{f"float{8 * size}": size for size in (2, 4, 8)},
}
"""Of each kind of number; other kinds of array are refused."""
CODECS = ("bytes", "zstd", "gzip", "blosc", "crc32c")
"""Plain bytes, their compression, and a sum to check them."""
MOST_DIMENSIONS = 16
MOST_ARRAYS = 10_000
"""Of one stage."""
MOST_CHUNKS = 1_000_000
"""Of one array."""
SHARE_OF_MEMORY = 0.5
"""What all arrays of a stage may take together, of the memory of the machine."""
MOST_CHUNK_BYTES = 2**31


def check_arrays(stage: Path) -> None:
    """Refuse a stage that zarr should not read.

    **Raises:** `StoreError` that names the file: arrays of other things than numbers, of codecs that are not known, of
    more bytes than the machine has room for, or links.
    """
    groups = [entry for entry in _parts(stage) if entry.is_dir()]
    _check_group(stage)
    if len(groups) > MOST_ARRAYS:
        raise StoreError(f"{stage} must hold at most {MOST_ARRAYS:,} arrays; got {len(groups):,}.")
    total = sum(_checked_bytes(folder) for folder in groups)
    room = SHARE_OF_MEMORY * memory_bytes()
    if total > room:
        raise StoreError(f"{stage} must take at most half of the memory ({room:.2g} bytes); it claims {total:.2g}.")


def memory_bytes() -> int:
    """Of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _parts(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error}.") from error
    for path in found:
        if path.is_symlink():
            raise StoreError(f"{path} must be a file or a folder of its own; it is a link.")
        if path.name in (".zarray", ".zgroup", ".zattrs", ".zmetadata"):
            raise StoreError(f"{path} must not be there: only version {FORMAT} of zarr is read.")
    return found


def _metadata(folder: Path, kind: str) -> dict[str, Any]:
    path = folder / "zarr.json"
    found = read_json(path)
    if found.get("zarr_format") != FORMAT or found.get("node_type") != kind:
        given = f"{found.get('node_type')!r} of version {found.get('zarr_format')!r}"
        raise StoreError(f"{path} must describe a zarr {kind} of version {FORMAT}; got {given}.")
    if not isinstance(found.get("attributes", {}), dict):
        raise StoreError(f"{path} must have a table of attributes; got {found['attributes']!r}.")
    return found


def _check_group(stage: Path) -> None:
    found = _metadata(stage, "group")
    if found.get("consolidated_metadata") is not None:
        raise StoreError(f"{stage / 'zarr.json'} must describe its arrays in files of their own.")


def _checked_bytes(folder: Path) -> int:
    """The bytes of an array that may be read."""
    path, found = folder / "zarr.json", _metadata(folder, "array")
    kind = found.get("data_type")
    if not isinstance(kind, str) or kind not in BYTES:
        raise StoreError(f"{path}: data_type must be a kind of number, {', '.join(BYTES)}; got {kind!r}.")
    _check_codecs(path, found.get("codecs"))
    if found.get("storage_transformers"):
        raise StoreError(f"{path}: storage_transformers must be empty; got {found['storage_transformers']!r}.")
    shape, chunk = _sizes(path, "shape", found.get("shape"), 0), _chunk(path, found.get("chunk_grid"))
    if len(chunk) != len(shape):
        raise StoreError(f"{path}: chunk_shape must have {len(shape)} numbers, as shape; got {chunk}.")
    chunks = math.prod(math.ceil(size / part) for size, part in zip(shape, chunk, strict=True))
    if chunks > MOST_CHUNKS:
        raise StoreError(f"{path} must have at most {MOST_CHUNKS:,} chunks; got {chunks:,}.")
    size = BYTES[kind] * math.prod(chunk)
    if size > MOST_CHUNK_BYTES:
        raise StoreError(f"{path}: a chunk must have at most {MOST_CHUNK_BYTES:,} bytes; got {size:,}.")
    _check_files(folder, size)
    return BYTES[kind] * math.prod(shape)


def _check_codecs(path: Path, codecs: Any) -> None:
    names = [one.get("name") if isinstance(one, dict) else one for one in codecs] if isinstance(codecs, list) else []
    if not names or any(name not in CODECS for name in names):
        raise StoreError(f"{path}: codecs must be among {', '.join(CODECS)}; got {str(codecs)[:200]}.")


def _sizes(path: Path, key: str, value: Any, least: int) -> list[int]:
    whole = isinstance(value, list) and all(type(size) is int and size >= least for size in value)
    if not whole or len(value) > MOST_DIMENSIONS:
        raise StoreError(f"{path}: {key} must be at most {MOST_DIMENSIONS} whole numbers; got {str(value)[:200]}.")
    return value


def _chunk(path: Path, grid: Any) -> list[int]:
    configuration = grid.get("configuration") if isinstance(grid, dict) and grid.get("name") == "regular" else None
    if not isinstance(configuration, dict):
        raise StoreError(f"{path}: chunk_grid must be regular; got {str(grid)[:200]}.")
    return _sizes(path, "chunk_shape", configuration.get("chunk_shape"), 1)


def _check_files(folder: Path, chunk: int) -> None:
    """Refuse links and pipes among the chunks, and files that claim to unpack to more than a chunk."""
    left = [folder]
    while left:
        for path in _parts(left.pop()):
            if path.is_dir():
                left.append(path)
            elif (reason := why_unreadable(path)) is not None:
                raise StoreError(f"{path} cannot be read: {reason}.")
            elif path.name != "zarr.json":
                _check_frame(path, chunk)


def _check_frame(path: Path, chunk: int) -> None:
    """Refuse a frame of zstd whose header claims more bytes than the chunk has.

    Source: RFC 8878, 3.1.1.1.
    """
    with path.open("rb") as file:
        head = file.read(18)
    if len(head) < 6 or head[:4] != b"\x28\xb5\x2f\xfd":
        return
    descriptor = head[4]
    single, wide = bool(descriptor & 0x20), descriptor >> 6
    begin = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3]
    length = (1 if single else 0, 2, 4, 8)[wide]
    if length == 0:
        raise StoreError(f"{path} must say how many bytes it unpacks to.")
    claimed = int.from_bytes(head[begin : begin + length], "little") + (256 if length == 2 else 0)
    if claimed > chunk:
        raise StoreError(f"{path} must unpack to at most {chunk:,} bytes, those of a chunk; it claims {claimed:,}.")
