"""The folder of a run: one run at a time, whatever happened to the last one."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from micromacro.errors import StoreError
from micromacro.store import Store

HOLD = """
import sys, time
from pathlib import Path
from micromacro.store import Store

with Store(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(600)
"""


def test_two_runs_on_one_folder_refuse_each_other_until_the_first_is_gone(tmp_path):
    out = tmp_path / "out"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        expected = f"out is in use by process {holder.pid} on .*Wait for its end"
        with pytest.raises(StoreError, match=expected), Store(out).locked():
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with Store(out).locked(), Store(out).locked():
        assert (out / ".owner").read_text().startswith(f"process {os.getpid()} on ")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"), Store(tmp_path / "file" / "out").locked():
        pass


def stage(value: float = 1.0) -> xr.Dataset:
    return xr.Dataset({"position": (("frame", "state"), np.full((100, 3), value))}, attrs={"force_evaluations": 7})


def test_a_stage_is_read_as_it_was_written_also_by_xarray_alone(tmp_path):
    store = Store(tmp_path)
    store.write("bias", stage())
    xr.testing.assert_identical(store.read("bias"), stage())
    with xr.open_zarr(tmp_path / "store" / "bias.zarr", consolidated=False) as found:
        xr.testing.assert_identical(found.load(), stage())


@pytest.mark.parametrize("damage", ["truncated", "flipped", "lost", "added", "attribute"])
def test_a_damaged_stage_is_told_and_what_the_message_says_helps(tmp_path, damage):
    store = Store(tmp_path)
    store.write("bias", stage())
    folder = tmp_path / "store" / "bias.zarr"
    victim = folder / "position" / "c" / "0" / "0"
    if damage == "added":
        (folder / "position" / "c" / "0" / "1").write_bytes(b"0")
    elif damage == "lost":
        victim.unlink()
    elif damage == "attribute":
        text = (folder / "zarr.json").read_text()
        (folder / "zarr.json").write_text(text.replace('"force_evaluations": 7', '"force_evaluations": 8'))
    else:
        content = bytearray(victim.read_bytes())
        content[-1] ^= 1
        victim.write_bytes(content if damage == "flipped" else content[:-1])
    with pytest.raises(StoreError, match=f"Delete {folder} and run again with --resume"):
        store.read("bias")
    shutil.rmtree(folder)
    store.write("bias", stage())
    xr.testing.assert_identical(store.read("bias"), stage())


def test_a_full_disk_is_told_and_leaves_nothing_under_the_name(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_zarr", full)
    with pytest.raises(StoreError, match=r"No space left on device.*Free some space"):
        Store(tmp_path).write("bias", stage())
    assert not Store(tmp_path).has("bias")


def test_the_store_says_where_it_comes_from(tmp_path):
    store = Store(tmp_path)
    assert store.provenance == {}
    store.describe({"case": "wells", "seed": 3})
    assert store.provenance == {"format": 2, "case": "wells", "seed": 3}
    (tmp_path / "store" / "zarr.json").write_text('{"attributes": {"format": 99}}')
    with pytest.raises(StoreError, match="must be of format 2; got 99"):
        _ = store.provenance
    (tmp_path / "store" / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match=r"zarr.json cannot be read.*Delete it"):
        _ = store.provenance
