"""Files that are whole or not there, and known by their sums."""

import hashlib
import os
from pathlib import Path


def settle(path: Path) -> None:
    """See to it that a file, or all files of a folder, are on the disk and not only on their way."""
    for file in _files(path):
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())


def check_sums(folder: Path) -> dict[str, str]:
    """The SHA-256 sums of all files of a folder, by their names in it."""
    sums = {}
    for file in _files(folder):
        with open(file, "rb") as opened:
            sums[str(file.relative_to(folder))] = hashlib.file_digest(opened, "sha256").hexdigest()
    return sums


def written_whole(file: Path, text: str) -> None:
    """Write a text file whole or not at all; it ends with a line end."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text + "\n", encoding="utf-8")
    settle(partial)
    os.replace(partial, file)


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if not file.is_dir()) if path.is_dir() else [path]
