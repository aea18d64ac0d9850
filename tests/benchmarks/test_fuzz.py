"""A small share of `make fuzz`: hostile inputs are refused with one message, and nothing happens besides."""

from pathlib import Path

import pytest

from benchmarks.fuzz.__main__ import BAD, fuzz_kind
from benchmarks.fuzz.stores import make_run
from benchmarks.fuzz.watching import Watch


def check(kind: str, count: int, run: Path, seed: int = 1):
    ends, wrong = fuzz_kind(kind, count, seed, run)
    assert not wrong, "\n".join(wrong)
    assert sum(ends.values()) == count
    assert not any(ends[name] for name in BAD)
    return ends


def test_a_few_hostile_case_files(tmp_path):
    assert check("own", 40, tmp_path)["refused"] > 0


def test_a_write_through_a_link_is_noticed(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside / "file")
    watch = Watch(inside)
    watch.on = True
    (inside / "own").write_text("")
    (inside / "link").write_text("")
    watch.on = False
    assert watch.found == [f"wrote {outside.resolve() / 'file'}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bytes", "own", "sde", "learned", "molecule", "data"])
def test_hostile_files(kind, tmp_path):
    check(kind, 300, tmp_path)


@pytest.mark.slow
def test_hostile_commands_and_stores(tmp_path):
    run = make_run(tmp_path)
    check("commands", 100, run)
    check("stores", 200, run)
