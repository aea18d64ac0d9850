"""Lines that are whole, whatever happened to the ones before them, and a reader that believes none of them."""

import json
import logging
import os

import pytest

from micromacro.watching import log_file
from micromacro.watching.log_file import LogFile, read_events


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store" / log_file.LOG


def test_an_event_is_a_line_with_both_clocks(path):
    file = LogFile(path)
    file.write("progress", stage="bias\nround", done=3.5, total=float("nan"), message="x" * 10_000)
    file.close()
    (line,) = path.read_bytes().splitlines()
    record = json.loads(line)
    assert record["time"].endswith("Z")
    assert record["monotonic"] > 0
    assert (record["stage"], record["done"], record["total"]) == ("bias\nround", 3.5, None)
    assert len(record["message"]) == log_file.MOST_CHARACTERS


def test_a_line_that_was_cut_short_is_skipped_and_the_next_begins_anew(path):
    for number in range(3):
        file = LogFile(path)
        file.write("alive", number=number)
        file.close()
        with path.open("ab") as torn:
            torn.write(b'{"event": "progr')
    assert [event["number"] for event in read_events(path)] == [0, 1, 2]


def test_a_full_disk_costs_lines_and_nothing_else(path, monkeypatch, caplog):
    file = LogFile(path)
    file.write("alive")
    write = os.write
    with monkeypatch.context() as full:
        # the disk fills up in the midst of a line, and is then full
        full.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:10]))
        file.write("alive")
        full.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        file.write("alive")
    file.write("finished")
    file.close()
    assert [event["event"] for event in read_events(path)] == ["alive", "finished"]
    assert read_events(path)[-1]["lines_lost"] == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_log_is_never_written_through_a_link(path, tmp_path, caplog):
    path.parent.mkdir()
    (tmp_path / "precious").write_text("mine")
    path.symlink_to(tmp_path / "precious")
    LogFile(path).write("alive")
    assert (tmp_path / "precious").read_text() == "mine"
    assert "cannot be written" in caplog.text


def test_a_pipe_in_place_of_a_log_keeps_nobody_waiting(path, caplog):
    path.parent.mkdir()
    os.mkfifo(path)
    LogFile(path).write("alive")
    assert read_events(path) == []


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b'{"event": 3}',
        b'{"event": "alive"',
        b'{"event": "' + b"x" * log_file.MOST_LINE + b'"}',
        b'{"event": ' + b"[" * 9000,
        b'{"event": ' + b"9" * 9000 + b"}",
    ],
)
def test_lines_that_are_no_events_are_skipped(path, line):
    path.parent.mkdir()
    path.write_bytes(line + b'\n{"event": "alive"}\n')
    assert read_events(path) == [{"event": "alive"}]


def test_of_a_huge_log_both_ends_are_read(path, monkeypatch):
    monkeypatch.setattr(log_file, "MOST_READ", 1000)
    path.parent.mkdir()
    path.write_text("".join(f'{{"event": "{number}"}}\n' for number in range(10_000)))
    events = [event["event"] for event in read_events(path)]
    assert (events[0], events[-1]) == ("0", "9999")
    assert len(events) < 150
