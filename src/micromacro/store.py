"""Results on disk: one zarr group a stage, written whole or not at all, checked when read, readable with xarray."""

import json
import os
import platform
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import xarray as xr
from filelock import FileLock, Timeout

from micromacro.durable_files import check_sums, settle, written_whole
from micromacro.errors import StoreError
from micromacro.journal import Journal
from micromacro.reading import read_json
from micromacro.stored_arrays import check_arrays

FORMAT = 2
"""Of the store; another number is another layout."""


@contextmanager
def room_needed(folder: Path) -> Iterator[None]:
    """Tell what to do where something could not be written. **Raises:** `StoreError` in place of `OSError`."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{folder} could not be written: {error}. Free some space, and go on with --resume."
        ) from error


class Store:
    """The stages of a run under `OUT/store`, itself a zarr group whose attributes say where the stages come from.

    A stage is written to a hidden directory and renamed when it is complete, so that a kill at any instant leaves the
    finished stages readable and nothing half-written under their names. What a stage under way has done is kept in its
    journal. Beside each stage stand the SHA-256 sums of its files.
    """

    def __init__(self, out: Path):
        self.path = Path(out) / "store"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs away from OUT meanwhile; the lock goes with its process, however that ends.

        **Raises:** `StoreError` where another run has it.
        """
        out = self.path.parent
        # `micromacro status` shares it for an instant, which is no reason to refuse a run
        lock, owner = FileLock(out / ".lock", timeout=0.2, is_singleton=True), out / ".owner"
        try:
            out.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            holder = owner.read_text(encoding="utf-8").strip() if owner.exists() else "another process"
            remedy = "Wait for its end, stop it, or choose another OUT."
            raise StoreError(f"{out} is in use by {holder}. {remedy}") from error
        except OSError as error:
            raise StoreError(f"{out} cannot be written: {error}. Choose another OUT.") from error
        try:
            # it only names the holder to others: a full disk is told where results are lost
            with suppress(OSError):
                owner.write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")
            yield
        finally:
            lock.release()

    @property
    def provenance(self) -> dict:
        """Where the stages come from: format, case, seed, and the environments that computed them; empty before.

        **Raises:** `StoreError` for a store of another format, or one whose description cannot be read.
        """
        file = self.path / "zarr.json"
        if not file.exists():
            return {}
        try:
            attributes = dict(read_json(file)["attributes"])
        except (StoreError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{file} cannot be read: {error}. Delete it and run again with --resume.") from error
        if attributes.get("format") != FORMAT:
            raise StoreError(
                f"{self.path} must be of format {FORMAT}; got {attributes.get('format')!r}, of another version of "
                "micromacro. Read it with that version, or run the case again in another OUT."
            )
        return attributes

    def describe(self, attributes: dict) -> None:
        """Replace the provenance. **Raises:** `StoreError` where it cannot be written."""
        described = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": {"format": FORMAT} | attributes,
        }
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            written_whole(self.path / "zarr.json", json.dumps(described, indent=1, ensure_ascii=False))
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written: {error}. Free some space, or choose another OUT."
            ) from error

    def has(self, name: str) -> bool:
        """Whether the stage was finished."""
        return self._final(name).is_dir()

    @property
    def names(self) -> list[str]:
        """The finished stages, in the order of their completion."""
        stages = [entry for entry in self.path.glob("*.zarr") if not entry.name.startswith(".")]
        return [entry.stem for entry in sorted(stages, key=lambda entry: entry.stat().st_mtime_ns)]

    @property
    def begun(self) -> bool:
        """Whether a stage is finished or under way."""
        return any(self.path.glob("*.zarr")) or any(self.path.glob(".*.parts"))

    def journal(self, name: str) -> Journal:
        """What a stage under way has done so far."""
        return Journal(self.path / f".{name}.parts")

    def write(self, name: str, dataset: xr.Dataset) -> None:
        """Store one stage and drop its journal. **Raises:** `StoreError` where it cannot be written."""
        partial = self.path / f".{name}.partial"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset.to_zarr(partial, consolidated=False)
            settle(partial)
            written_whole(self._sums(name), json.dumps(check_sums(partial), indent=1))
            os.replace(partial, self._final(name))
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise StoreError(
                f"Stage {name} could not be written to {self.path}: {error}. Free some space, and go on with --resume."
            ) from error
        self.journal(name).discard()

    def read(self, name: str) -> xr.Dataset:
        """One stage, in memory. **Raises:** `StoreError` where it is missing, damaged or cannot be read."""
        if not self.has(name):
            raise StoreError(f"{self.path} holds no stage {name}. Run the case again with --resume.")
        self._check(name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with xr.open_zarr(self._final(name), chunks=None, consolidated=False) as dataset:
                    return dataset.load()
        except Exception as error:
            raise self._damaged(name, str(error)) from error

    def _check(self, name: str) -> None:
        """Refuse a stage whose files are not those that were written, or that nobody should open."""
        try:
            check_arrays(self._final(name))
            wanted = read_json(self._sums(name))
            found = check_sums(self._final(name))
        except (OSError, StoreError) as error:
            raise self._damaged(name, str(error)) from error
        if found != wanted:
            wrong = sorted(file for file in {*found, *wanted} if found.get(file) != wanted.get(file))
            raise self._damaged(name, f"{wrong[0]} is not as it was written")

    def _damaged(self, name: str, how: str) -> StoreError:
        remedy = f"Delete {self._final(name)} and run again with --resume: it is computed again."
        return StoreError(f"Stage {name} of {self.path} cannot be read: {how}. {remedy}")

    def _final(self, name: str) -> Path:
        return self.path / f"{name}.zarr"

    def _sums(self, name: str) -> Path:
        return self.path / f".{name}.sums"
