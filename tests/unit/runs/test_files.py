"""Files that are there whole or not at all, and found out when they are damaged."""

import errno
import json
import os
import pickle
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from kdpipe.errors import StoreError
from kdpipe.runs.files import (
    compute_file_info,
    read_arrays,
    write_arrays,
    write_bytes,
    write_json,
)

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.array([0.5, -1.5], np.float16),
    "labels": np.array([[1], [2]], np.int64),
    "images": np.full((1, 2, 2), 255, np.uint8),
    "none": np.zeros((0, 4), np.float32),
    "scalar": np.array(7, np.int64),
}
ABOUT = {"run": "ab" * 32, "epoch": 3, "curve": [{"lr": 0.1, "val": None}]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "er" / "weights.safetensors"


def test_arrays_come_back_as_they_were(path):
    write_arrays(path, ARRAYS, ABOUT)
    arrays, about = read_arrays(path)
    assert about == ABOUT and set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)
    assert os.listdir(path.parent) == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~current_umask()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_arrays_in_any_memory_order_come_back(path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    views = {"turned": array.transpose(2, 0, 1), "fortran": np.asfortranarray(array[0]),
             "every": array[:, ::2]}  # fmt: skip
    write_arrays(path, views, {})
    arrays, _ = read_arrays(path)
    for name, view in views.items():
        np.testing.assert_array_equal(arrays[name], view)


def test_the_same_arrays_give_the_same_bytes_whatever_their_order(path):
    write_arrays(path, ARRAYS, ABOUT)
    one = path.read_bytes()
    backwards = dict(reversed(list(ARRAYS.items())))
    write_arrays(path, backwards, dict(reversed(list(ABOUT.items()))))
    assert path.read_bytes() == one
    write_arrays(path, ARRAYS, ABOUT | {"epoch": 4})
    assert path.read_bytes() != one


def refused(path):
    with pytest.raises(StoreError) as error:
        read_arrays(path)
    message = str(error.value)
    assert message.startswith(str(path)) and f"remove the folder {path.parent}" in message
    return message


def test_every_flipped_bit_is_found(path):
    """One bit of every byte of the file: its header, what it is about, and its numbers."""
    write_arrays(path, {"weight": ARRAYS["weight"]}, {"run": "ab", "epoch": 3})
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        refused(path)
    path.write_bytes(whole)
    read_arrays(path)


def test_every_truncation_is_found(path):
    write_arrays(path, ARRAYS, ABOUT)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert "damaged or not kdpipe's" in refused(path)
    path.write_bytes(whole + b"\0")
    refused(path)


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_what_is_none_of_ours_is_refused_and_never_executed(path, tmp_path):
    assert "is missing" in refused(path)
    path.parent.mkdir(parents=True)
    mark = tmp_path / "executed"
    path.write_bytes(pickle.dumps(Bomb(mark)))
    refused(path)
    np.save(path.with_suffix(".npy"), np.array([Bomb(mark)]), allow_pickle=True)
    path.with_suffix(".npy").rename(path)
    refused(path)
    assert not mark.exists()
    for metadata in (None, {"kdpipe": "1"}, {"kdpipe": "[]"}, {"kdpipe": "{}"}, {"kdpipe": "{"}):
        save_file({"weight": ARRAYS["weight"]}, path, metadata=metadata)
        refused(path)
    path.unlink()
    path.mkdir()
    refused(path)


# --- writing


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("fault", [KeyboardInterrupt, MemoryError, OSError(errno.EIO, "broken")])
def test_whoever_is_stopped_while_writing_leaves_the_old_file(path, monkeypatch, step, fault):
    write_bytes(path, b"old")

    def stop(*_):
        raise fault

    monkeypatch.setattr(os, step, stop)
    with pytest.raises((StoreError, KeyboardInterrupt, MemoryError)):
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]  # and no litter
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_file_is_synced_before_it_takes_its_name(path, monkeypatch):
    steps = []
    for step in ("fsync", "replace"):
        real = getattr(os, step)
        monkeypatch.setattr(os, step, lambda *a, s=step, r=real: (steps.append(s), r(*a))[1])
    write_bytes(path, b"x")
    assert steps == ["fsync", "replace"]


def test_a_killed_writer_leaves_the_old_file(path):
    write_bytes(path, b"old")
    code = (
        "import os, sys; from kdpipe.runs.files import write_bytes\n"
        "os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        f"write_bytes({str(path)!r}, b'new')"
    )
    process = subprocess.run([sys.executable, "-c", code])
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_with_path_and_bytes(path, monkeypatch, code):
    def full(*_):
        raise OSError(code, "full")

    write_bytes(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError) as error:
        write_bytes(path, b"x" * 12_345)
    assert f"no space left to write {path} (12,345 bytes needed)" in str(error.value)
    assert path.read_bytes() == b"old"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    process = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True
    )
    if process.returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk):
    path = small_disk / "runs" / "weights"
    write_bytes(path, b"old")
    with pytest.raises(StoreError, match=r"no space left .*weights \(100,000 bytes needed\)"):
        write_bytes(path, b"x" * 100_000)
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["weights"]
    write_bytes(path, b"x" * 10_000)  # goes on when there is space
    assert path.stat().st_size == 10_000


def test_a_place_where_nothing_can_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="file/run/weights cannot be written: Not a directory"):
        write_bytes(tmp_path / "file" / "run" / "weights", b"x")


def test_json_is_json(path):
    write_json(path, {"a": [1, None]})
    assert json.loads(path.read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})


def test_facts_of_a_file(path):
    write_bytes(path, b"abc")  # printf abc | sha256sum
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert compute_file_info(path) == {"bytes": 3, "sha256": digest}
