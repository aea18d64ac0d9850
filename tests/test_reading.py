"""What is read of strangers: regular files of bounded size, numbers alone, names that stay in their folder."""

import json
import os
import zipfile

import numpy as np
import pytest
import xarray as xr

from micromacro.array_files import read_array
from micromacro.cli.tables import printable
from micromacro.errors import StoreError
from micromacro.reading import (
    nesting,
    parse_json,
    read_json,
    refuse_links_out,
    why_unpacks_too_large,
    why_unreadable,
    within,
)
from micromacro.store import Store
from micromacro.stored_arrays import MOST_CHUNKS, check_arrays
from micromacro.summary import checked_summary


def test_pipes_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    assert why_unreadable(tmp_path / "pipe") == "no regular file"
    assert why_unreadable(tmp_path) == "no regular file"
    assert why_unreadable(tmp_path / "none") == "no such file"
    assert why_unreadable(tmp_path / "a\0b") == "embedded null byte"
    assert "symbolic links" in str(why_unreadable(tmp_path / "loop"))
    with pytest.raises(StoreError, match="no regular file"):
        read_json(tmp_path / "pipe")


def test_sizes_are_bounded(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert why_unreadable(tmp_path / "file", 5) is None
    assert why_unreadable(tmp_path / "file", 4) == "5 bytes, and at most 4 are read"


def test_compressed_files_are_bounded_by_what_they_unpack_to(tmp_path):
    import gzip

    path = tmp_path / "zeros.gz"
    path.write_bytes(gzip.compress(b"\0" * 3_000_000))
    assert why_unpacks_too_large(path, 3_000_000) is None
    assert why_unpacks_too_large(path, 2_999_999) == "more than 2,999,999 bytes when unpacked"
    path.write_bytes(path.read_bytes()[:100])
    assert "end" in str(why_unpacks_too_large(path))


@pytest.mark.parametrize("text", ["[" * 100 + "]" * 100, "[" * 100_000, "9" * 5000, "", "{"])
def test_json_that_is_none(text):
    with pytest.raises(ValueError, match=r"nested|digits|Expecting"):
        parse_json(text)


def test_nesting():
    assert [nesting(value) for value in (1, [], [1], {"a": [{}]})] == [0, 1, 1, 3]


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../outside", "a\0b", "link"])
def test_names_stay_in_their_folder(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="must be the name of a file in"):
        within(folder, name)
    assert within(folder, "a/b") == folder.resolve() / "a" / "b"


def test_links_out_of_results_are_refused(tmp_path):
    out = tmp_path / "out"
    (out / "store").mkdir(parents=True)
    (out / "a").write_text("")
    (out / "inside").symlink_to("a")
    (tmp_path / "link").symlink_to(out)
    refuse_links_out(tmp_path / "link")
    (out / "store" / "b").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=r"store/b must not lead out of .* Remove it\."):
        refuse_links_out(out)
    (out / "store" / "b").unlink()
    os.mkfifo(out / "pipe")
    with pytest.raises(StoreError, match="pipe must be a file or a folder"):
        refuse_links_out(out)


def test_arrays_of_objects_and_of_false_sizes_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(read_array(path), [[0, 1, 2], [3, 4, 5]])
    path.write_bytes(path.read_bytes().replace(b"(2, 3)", b"(9, 9)"))
    with pytest.raises(ValueError, match="claims 648 bytes"):
        read_array(path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="numbers are read"):
        read_array(path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("q.npy", path.read_bytes())
    with pytest.raises(ValueError, match="numbers are read"):
        read_array(tmp_path / "a.npz", "q")
    with pytest.raises(ValueError, match=r"no item named 'z\.npy'"):
        read_array(tmp_path / "a.npz", "z")


def test_arrays_of_an_archive(tmp_path):
    values = np.asfortranarray(np.arange(6).reshape(2, 3))
    np.savez(tmp_path / "a.npz", q=values)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npz", "q"), values)


@pytest.fixture
def stage(tmp_path):
    """The folder of a stage with one array."""
    store = Store(tmp_path)
    store.write("bias", xr.Dataset({"value": ("n", np.arange(5.0))}))
    store.read("bias")
    return tmp_path / "store" / "bias.zarr"


HOSTILE = {
    "petabytes": ({"shape": [10**15]}, "chunks"),
    "petabytes in one chunk": (
        {"shape": [10**15], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**15]}}},
        "a chunk must have at most",
    ),
    "more than the memory": (
        {
            "shape": [10**12],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**7]}},
        },
        "half of the memory",
    ),
    "negative": ({"shape": [-1]}, "whole numbers"),
    "objects": ({"data_type": "object"}, "kind of number"),
    "text": ({"data_type": "string"}, "kind of number"),
    "pickles": ({"codecs": [{"name": "numcodecs.pickle"}]}, "codecs must be among"),
    "older zarr": ({"zarr_format": 2}, "version 3"),
    "another grid": ({"chunk_grid": {"name": "x"}}, "regular"),
    "attributes": ({"attributes": []}, "table of attributes"),
}


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_arrays_that_zarr_should_not_read(stage, change, message):
    path = stage / "value" / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StoreError, match=message):
        check_arrays(stage)


def test_too_many_chunks(stage):
    path = stage / "value" / "zarr.json"
    found = json.loads(path.read_text())
    found["shape"], found["chunk_grid"]["configuration"]["chunk_shape"] = [MOST_CHUNKS + 1], [1]
    path.write_text(json.dumps(found))
    with pytest.raises(StoreError, match="must have at most 1,000,000 chunks; got 1,000,001"):
        check_arrays(stage)


def test_files_of_version_2_and_links_are_refused(stage):
    (stage / ".zarray").write_text("{}")
    with pytest.raises(StoreError, match="only version 3"):
        check_arrays(stage)
    (stage / ".zarray").unlink()
    (stage / "value" / "c" / "0").rename(stage / "moved")
    (stage / "value" / "c" / "0").symlink_to(stage / "moved")
    with pytest.raises(StoreError, match="it is a link"):
        check_arrays(stage)


def test_chunks_that_claim_to_unpack_to_more(stage):
    path = stage / "value" / "c" / "0"
    # a frame of zstd whose header claims 2⁴⁰ bytes
    path.write_bytes(b"\x28\xb5\x2f\xfd\xe0" + (2**40).to_bytes(8, "little") + b"\0" * 8)
    with pytest.raises(StoreError, match="must unpack to at most 40 bytes"):
        check_arrays(stage)


def test_summary_that_is_none(tmp_path):
    with pytest.raises(StoreError, match="wall_seconds must hold what a run wrote; Field required"):
        checked_summary({"force_evaluations": 1}, tmp_path)


def test_text_for_a_terminal():
    assert printable("é\x1b[2J\ud800\n") == "é\\x1b[2J\\ud800\n"
