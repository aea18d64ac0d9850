"""The fault campaign convicts what it should, and a small one finds nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.faults import Kept, same_result
from micromacro.store import Store
from tests.test_store import stage


def keep(out, call: int, part: int) -> None:
    with Store(out).journal("bias") as journal:
        journal.keep(call, part, "q", (np.zeros(3),))


def nothing(out) -> None: ...


def forget_answers(out) -> None:
    shutil.rmtree(out / "store" / ".bias.parts")


def answer_again(out) -> None:
    keep(out, 0, 1)


def write_again(out) -> None:
    os.utime(out / "store" / "explore.zarr", (1.0, 1.0))


@pytest.mark.parametrize(
    ("harm", "told"),
    [(nothing, ""), (forget_answers, "of bias"), (answer_again, "done twice"), (write_again, "stage explore")],
)
def test_what_is_lost_or_done_twice_is_found(tmp_path, harm: Callable, told: str):
    Store(tmp_path).write("explore", stage())
    keep(tmp_path, 0, 0)
    keep(tmp_path, 0, 1)
    before = Kept.of(tmp_path)
    assert before.under_way == "bias"
    harm(tmp_path)
    lost = Kept.of(tmp_path).lost(before)
    assert bool(lost) == bool(told)
    assert all(told in one for one in lost)


def test_another_result_is_found(tmp_path):
    for name, value in (("one", 1.0), ("same", 1.0), ("other", 2.0)):
        Store(tmp_path / name).write("bias", stage(value).assign_attrs(wall_seconds=float(len(name))))
        for file in ("free_energy.csv", "closure.csv"):
            (tmp_path / name / file).write_text("z1\n")
        (tmp_path / name / "summary.json").write_text(f'{{"wall_seconds": {len(name)}}}')
    assert same_result(tmp_path / "same", tmp_path / "one") is None
    assert same_result(tmp_path / "other", tmp_path / "one") == "stage bias"


@pytest.mark.slow
def test_a_small_campaign_finds_nothing_wrong():
    command = [sys.executable, "-m", "benchmarks.faults", "--kills", "4", "--worker-kills", "2", "--damages", "2"]
    done = subprocess.run([*command, "--interrupts", "2", "--disks"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 wrong" in done.stdout
