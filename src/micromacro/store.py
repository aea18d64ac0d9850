"""Results on disk: one zarr group a stage, written whole or not at all, readable with xarray."""

import os
import platform
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import xarray as xr
from filelock import FileLock, Timeout

from micromacro.errors import StoreError
from micromacro.stored_arrays import check_arrays


class Store:
    """The stages of a run under `OUT/store`.

    A stage is written to a hidden directory and renamed when it is complete, so that a kill at any instant leaves the
    finished stages readable and nothing half-written under their names.
    """

    def __init__(self, out: Path):
        self.path = Path(out) / "store"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs away from OUT meanwhile; the lock goes with its process, however that ends.

        **Raises:** `StoreError` where another run has it.
        """
        out = self.path.parent
        lock, owner = FileLock(out / ".lock", timeout=0, is_singleton=True), out / ".owner"
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

    def has(self, name: str) -> bool:
        """Whether the stage was finished."""
        return self._final(name).is_dir()

    @property
    def names(self) -> list[str]:
        """The finished stages, in the order of their completion."""
        stages = [entry for entry in self.path.glob("*.zarr") if not entry.name.startswith(".")]
        return [entry.stem for entry in sorted(stages, key=lambda entry: entry.stat().st_mtime_ns)]

    def write(self, name: str, dataset: xr.Dataset) -> None:
        """Store one stage. **Raises:** `StoreError` where it cannot be written."""
        partial = self.path / f".{name}.partial"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset.to_zarr(partial, consolidated=False)
            os.replace(partial, self._final(name))
        except OSError as error:
            raise StoreError(
                f"Stage {name} could not be written to {self.path}: {error}. Free some space and resume."
            ) from error

    def read(self, name: str) -> xr.Dataset:
        """One stage, in memory. **Raises:** `StoreError` where it is missing or cannot be read."""
        if not self.has(name):
            raise StoreError(f"{self.path} holds no stage {name}. Run the case again with --resume.")
        check_arrays(self._final(name))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with xr.open_zarr(self._final(name), chunks=None, consolidated=False) as dataset:
                    return dataset.load()
        except Exception as error:
            remedy = f"Delete {self._final(name)} and run again with --resume."
            raise StoreError(f"Stage {name} of {self.path} cannot be read: {error}. {remedy}") from error

    def _final(self, name: str) -> Path:
        return self.path / f"{name}.zarr"
