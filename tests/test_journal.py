"""The journal of a stage: answers come back bit for bit, to the same question only, and damage is told."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest

from micromacro import journal as module
from micromacro.errors import StoreError
from micromacro.journal import Journal
from micromacro.sampling.pool import Recorder, question

ANSWER = (np.arange(6.0).reshape(2, 3) / 7, np.zeros((0, 2)), np.array(3))

WRITE_FOREVER = """
import sys
from pathlib import Path
import numpy as np
from micromacro import journal
journal.SECONDS_TOGETHER = 0.0
with journal.Journal(Path(sys.argv[1])) as kept:
    for call in range(10**9):
        kept.keep(call, 0, "q", (np.full((100, 100), float(call)),))
        print(call, flush=True)
"""


class Doubling:
    """A pool that remembers what it was asked."""

    def __init__(self, breaks_at: int | None = None):
        self.asked: list[float] = []
        self.breaks_at = breaks_at

    def everywhere(self, method, arguments): ...

    def forget(self, method, kind): ...

    def close(self): ...

    def run(self, method, tasks, labels, done=lambda *_: None):
        answers = []
        for number, task in enumerate(tasks):
            if len(self.asked) == self.breaks_at:
                raise KeyboardInterrupt
            self.asked.append(float(task["x"]))
            answers.append((np.array(2 * task["x"]),))
            done(number, answers[-1])
        return answers


def two_calls(recorder: Recorder) -> list:
    first = recorder.run("double", [{"x": np.array(float(x))} for x in range(3)], ["a", "b", "c"])
    second = recorder.run("double", [{"x": 10 + first[x][0]} for x in range(3)], ["a", "b", "c"])
    return [float(answer[0]) for answer in second]


def test_answers_come_back_bit_for_bit(tmp_path):
    with Journal(tmp_path / "parts") as kept:
        assert kept.next_call() == 0
        kept.keep(0, 1, "q", ANSWER)
    with Journal(tmp_path / "parts") as kept:
        found = kept.find(0, 1, "q")
        assert kept.find(0, 1, "another question") is None
        assert kept.find(0, 0, "q") is None
    assert [array.dtype for array in found] == [array.dtype for array in ANSWER]
    for one, other in zip(found, ANSWER, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("breaks_at", range(6))
def test_work_broken_off_anywhere_goes_on_where_it_stopped(tmp_path, breaks_at):
    folder = tmp_path / "parts"
    broken = [Recorder(Doubling(breaks_at)), Recorder(Doubling(1))]
    for one in broken if breaks_at < 5 else broken[:1]:
        with pytest.raises(KeyboardInterrupt), Journal(folder) as kept, one.keeping(kept):
            two_calls(one)
    again = Recorder(Doubling())
    with Journal(folder) as kept, again.keeping(kept):
        assert two_calls(again) == [20.0, 24.0, 28.0]
    asked = [x for one in (*broken, again) for x in one.pool.asked]
    assert asked == [0.0, 1.0, 2.0, 10.0, 12.0, 14.0]


def test_another_question_is_asked_anew(tmp_path):
    recorder = Recorder(Doubling())
    for x in (1.0, 1.0, 2.0, 1.0):
        with Journal(tmp_path / "parts") as kept, recorder.keeping(kept):
            assert recorder.run("double", [{"x": np.array(x)}], ["a"]) == [(2 * x,)]
    assert recorder.pool.asked == [1.0, 2.0, 1.0]


def test_questions_differ_where_a_number_or_a_name_does():
    task = {"x": np.arange(3.0), "kind": "a", "frames": 2}
    others = [{"x": np.nextafter(task["x"], np.inf)}, {"kind": "b"}, {"frames": 3}, {"x": np.arange(3)}]
    asked = [question("advance", task), question("move", task), *(question("advance", task | one) for one in others)]
    assert len(set(asked)) == len(asked)
    assert question("advance", {"x": np.arange(3.0), "kind": "a", "frames": 2}) == asked[0]


def test_a_killed_writer_leaves_whole_answers_only(tmp_path):
    folder = tmp_path / "parts"
    writer = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    last = -1
    while last < 20:
        last = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    rest, _ = writer.communicate()
    last = max([last, *(int(line) for line in rest.splitlines() if line.isdigit())])
    with Journal(folder) as kept:
        for call in range(last + 1):
            (found,) = kept.find(call, 0, "q")
            assert np.all(found == call)


def test_an_answer_is_on_the_disk_soon_also_where_no_other_follows(tmp_path):
    with Journal(tmp_path / "parts") as kept:
        kept.keep(0, 0, "q", ANSWER)
        time.sleep(3 * module.SECONDS_TOGETHER)
        with Journal(tmp_path / "parts") as other:
            assert other.find(0, 0, "q") is not None


@pytest.mark.parametrize("answers", [[[0, 0, "q", 2]], [[0, 0, "q", 10**9]], [[0, 1, "q", 1]], [["x"]], {}])
def test_a_journal_that_names_what_it_does_not_hold_is_told(tmp_path, answers):
    with Journal(tmp_path / "parts") as kept:
        kept.keep(0, 0, "q", (np.arange(3.0),))
    (file,) = (tmp_path / "parts").iterdir()
    with zipfile.ZipFile(file) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    held["zarr.json"] = json.dumps(json.loads(held["zarr.json"]) | {"attributes": {"answers": answers}}).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    with pytest.raises(StoreError, match="Delete") if answers else nullcontext(), Journal(tmp_path / "parts") as kept:
        assert kept.find(0, 0, "q") is None


def test_a_file_that_no_run_wrote_is_told(tmp_path):
    (tmp_path / "x.zarr.zip").write_bytes(b"")
    with pytest.raises(StoreError, match="not written by a run"), Journal(tmp_path):
        pass


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied"])
def test_damage_is_told_with_a_remedy_that_works(tmp_path, damage):
    folder = tmp_path / "parts"
    with Journal(folder) as kept:
        kept.keep(0, 0, "q", (np.arange(1000.0),))
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[content.index(np.arange(500.0, 510.0).tobytes())] ^= 1
    file.write_bytes({"truncated": content[:-40], "flipped": content, "emptied": b""}[damage])
    with pytest.raises(StoreError, match=f"Delete {file} and go on with --resume"), Journal(folder) as kept:
        kept.find(0, 0, "q")
    file.unlink()
    with Journal(folder) as kept:
        assert kept.find(0, 0, "q") is None


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(StoreError, match=r"No space left on device.*Free some space"), Journal(tmp_path / "p") as kept:
        kept.keep(0, 0, "q", ANSWER)
    assert list((tmp_path / "p").iterdir()) == []


def test_answers_beyond_a_million_files_stay_in_order(tmp_path):
    for number in (999_999, 1_000_000):
        with Journal(tmp_path) as kept:
            kept._files = number
            kept.keep(number, 0, "q", ANSWER)
    with Journal(tmp_path) as kept:
        kept.keep(0, 0, "q", ANSWER)
        for call in (999_999, 1_000_000):
            assert kept.find(call, 0, "q") is not None
    assert sorted(file.name[:-9] for file in tmp_path.glob("*.zarr.zip")) == ["1000000", "1000001", "999999"]
