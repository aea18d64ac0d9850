"""What a stage under way has done: the answers of its tasks, in the order in which they came, safe against kills.

A stage is a function of the case and the seed that asks an engine again and again to advance walkers. Each such call is
cut into tasks, a few windows each, and their answers are all that costs anything. Kept on disk, they let a killed stage
run again from its beginning in no time: it asks the same questions, and those that were answered are not computed.

Answers gather in memory for a second at most and are written as one file: a zip archive of a zarr group, with the check
sums of the format, renamed when it is complete.
"""

import math
import os
import re
import shutil
import threading
import time
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import ZipStore

from micromacro.durable_files import settle
from micromacro.errors import StoreError
from micromacro.reading import MOST_CASE_BYTES, parse_json
from micromacro.stored_arrays import BYTES

SECONDS_TOGETHER = 1.0
MOST_ARRAYS = 100
"""Of one answer."""
Answer = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Entry:
    """One answer: to which call and part, for which question, as how many arrays, in which file."""

    call: int
    part: int
    question: str
    arrays: int
    file: Path | None = None

    @property
    def name(self) -> str:
        """Of its arrays, but for their number."""
        return f"call{self.call}_part{self.part}"


class Journal:
    """The answers of the stage whose folder this is.

    Used within `with`: what is there is found on entry, what was not yet written is written on exit.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._calls = 0
        self._entries: dict[tuple[int, int], Entry] = {}
        self._waiting: list[tuple[Entry, Answer]] = []
        self._open: tuple[Path, dict[str, np.ndarray]] | None = None
        self._files = 0
        self._written = time.monotonic()
        self._writing = threading.Lock()
        self._late: threading.Timer | None = None
        self._failure: StoreError | None = None

    def __enter__(self) -> "Journal":
        files = list(self._folder.glob("*.zarr.zip")) if self._folder.is_dir() else []
        for file in files:
            if not re.fullmatch(r"\d{6,12}\.zarr\.zip", file.name):
                raise _damaged(file, ValueError("it was not written by a run"))
        files.sort(key=_number)
        self._files = _number(files[-1]) + 1 if files else 0
        for file in files:
            for entry in _entries(file):
                self._entries[entry.call, entry.part] = entry
        return self

    def __exit__(self, *_: object) -> None:
        if self._late is not None:
            self._late.cancel()
        self.flush()

    def next_call(self) -> int:
        """The number of the next call; a stage that runs again counts again."""
        self._calls += 1
        return self._calls - 1

    def find(self, call: int, part: int, question: str) -> Answer | None:
        """The answer to the same question of the same call and part, where there is one.

        **Raises:** `StoreError` where its file is damaged.
        """
        entry = self._entries.get((call, part))
        if entry is None or entry.question != question:
            return None
        assert entry.file is not None
        if self._open is None or self._open[0] != entry.file:
            self._open = entry.file, _arrays(entry.file)
        arrays = self._open[1]
        return tuple(arrays[f"{entry.name}_{number}"] for number in range(entry.arrays))

    def keep(self, call: int, part: int, question: str, answer: Answer) -> None:
        """Keep an answer. **Raises:** `StoreError` where it cannot be written."""
        with self._writing:
            self._waiting.append((Entry(call, part, question, len(answer)), answer))
        if time.monotonic() - self._written >= SECONDS_TOGETHER:
            self.flush()
        elif self._late is None:
            # the next answer may be long in coming
            self._late = threading.Timer(SECONDS_TOGETHER, self._flush_late)
            self._late.daemon = True
            self._late.start()

    def _flush_late(self) -> None:
        self._late = None
        try:
            self.flush()
        except StoreError as error:
            self._failure = error

    def flush(self) -> None:
        """Write the answers that wait. **Raises:** `StoreError` where that fails, or has failed meanwhile."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        with self._writing:
            self._write_waiting()

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        file = self._folder / f"{self._files:06}.zarr.zip"
        partial = file.with_suffix(".partial")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _write(partial, self._waiting)
            settle(partial)
            os.replace(partial, file)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise StoreError(
                f"What was computed could not be written to {self._folder}: {error}. "
                "Free some space, and go on with --resume."
            ) from error
        self._files += 1
        self._waiting, self._written = [], time.monotonic()

    def discard(self) -> None:
        """Forget everything: the stage is finished."""
        with self._writing:
            self._waiting = []
        shutil.rmtree(self._folder, ignore_errors=True)


def _write(file: Path, answers: list[tuple[Entry, Answer]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ZipStore(file, mode="w") as store:
            group = zarr.create_group(store)
            group.attrs["answers"] = [[one.call, one.part, one.question, one.arrays] for one, _ in answers]
            for entry, answer in answers:
                for number, array in enumerate(answer):
                    name = f"{entry.name}_{number}"
                    axes = [f"{name}_axis{axis}" for axis in range(array.ndim)]
                    settings = {"chunks": _whole(array), "compressors": None, "dimension_names": axes}
                    # zeros too: an archive that says more than it holds is refused
                    group.create_array(name, data=array, config={"write_empty_chunks": True}, **settings)


def _number(file: Path) -> int:
    """Of a file of the journal, in the order in which they were written."""
    return int(file.name.partition(".")[0])


def _whole(array: np.ndarray) -> tuple[int, ...]:
    return tuple(max(1, size) for size in array.shape)


def _check(file: Path) -> None:
    """Refuse an archive of other things than plain numbers that it holds as they are."""
    size = file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > size:
                raise ValueError(f"{member.filename} is compressed")
            if member.filename.endswith("zarr.json"):
                if member.file_size > MOST_CASE_BYTES:
                    raise ValueError(f"{member.filename} is too large")
                _check_description(member.filename, parse_json(archive.read(member).decode()), size)


def _check_description(name: str, found: Any, size: int) -> None:
    if not isinstance(found, dict) or found.get("node_type") == "group":
        return
    numbers, codecs = BYTES.get(str(found.get("data_type"))), [one["name"] for one in found["codecs"]]
    if numbers is None or codecs != ["bytes"] or math.prod(found["shape"]) * numbers > size:
        raise ValueError(f"{name} describes no plain numbers that the archive could hold")


def _entries(file: Path) -> list[Entry]:
    try:
        _check(file)
        with ZipStore(file, mode="r") as store:
            group = zarr.open_group(store, mode="r")
            found = [
                Entry(int(call), int(part), str(question), int(arrays), file)
                for call, part, question, arrays in group.attrs["answers"]  # type: ignore[union-attr, misc]
            ]
            names = set(group.array_keys())
            missing = {
                f"{one.name}_{number}" for one in found for number in range(min(one.arrays, MOST_ARRAYS))
            } - names
            if missing or any(not 1 <= one.arrays <= MOST_ARRAYS for one in found):
                raise ValueError("it names answers that it does not hold")
            return found
    except Exception as error:
        raise _damaged(file, error) from error


def _arrays(file: Path) -> dict[str, np.ndarray]:
    try:
        with ZipStore(file, mode="r") as store:
            return {name: np.asarray(array[...]) for name, array in zarr.open_group(store, mode="r").arrays()}
    except Exception as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> StoreError:
    how = "not an archive" if isinstance(error, zipfile.BadZipFile) else error
    remedy = f"Delete {file} and go on with --resume: its part of the work is done again."
    return StoreError(f"{file} cannot be read: {how}. {remedy}")
