"""The folder of a run: one run at a time, whatever happened to the last one."""

import os
import signal
import subprocess
import sys

import pytest

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
