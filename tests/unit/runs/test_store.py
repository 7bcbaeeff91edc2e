"""A run is found by its digest, and one process at a time works in its folder."""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from kdpipe.errors import StoreError
from kdpipe.runs import records, store
from kdpipe.runs.store import Store


def test_a_run_is_found_by_its_digest(tmp_path):
    store = Store(tmp_path)
    folder = store.run("wrn10-1-labels-2e-s0-" + "ab" * 6)
    folder.mkdir(parents=True)
    store.run("wrn10-1-labels-2e-s0-" + "cd" * 6).mkdir()
    assert store.find_run("ab" * 32) == folder
    with pytest.raises(StoreError, match=r"no run with digest efefefefefef.*run the study again"):
        store.find_run("ef" * 32)


def test_a_folder_moved_aside_is_not_the_run(tmp_path):
    """Neither to write into nor to learn from; what it holds is said where a parent is missing."""
    store, name = Store(tmp_path), "wrn10-1-labels-2e-s0-" + "ab" * 6
    aside = store.run(f"old-{name}")
    records.publish_record(aside, {"digest": "ab" * 32, "status": "done", "name": name})
    with pytest.raises(StoreError, match=f"rename {aside} to {name}, or run the study again"):
        store.find_run("ab" * 32)
    assert set(store.load_records("runs")) == set()
    store.run(name).mkdir()
    assert store.find_run("ab" * 32) == store.run(name)  # at work on it
    records.publish_record(store.run(name), {"digest": "ab" * 32, "status": "done", "name": name})
    records.publish_record(
        store.run(f"z-{name}"), {"digest": "ab" * 32, "status": "done", "name": name}
    )
    assert store.find_run("ab" * 32) == store.run(name)
    assert set(store.load_records("runs")) == {name}


# --- one damaged record


def published(store, name, **more):
    digest = f"{name:0<64}"
    records.publish_record(
        store.run(name), {"digest": digest, "status": "done", "name": name, **more}
    )
    return store.run(name)


def test_a_damaged_record_hides_no_other_and_is_put_back_from_its_copy(tmp_path):
    store = Store(tmp_path)
    for name in "abc":
        published(store, name)
    whole = (store.run("a") / "record.json").read_bytes()
    (store.run("a") / "record.json").write_bytes(whole[:-30])
    for name in ("record.json", ".record.json"):
        (store.run("b") / name).write_bytes(b"")
    actual, damaged = store.scan_records("runs")
    assert set(actual) == {"a", "c"} and set(damaged) == {"b"}
    assert str(store.run("b") / "record.json") in damaged["b"]
    assert (store.run("a") / "record.json").read_bytes() == whole


def test_a_record_that_is_gone_is_put_back_from_its_copy(tmp_path):
    """Snakemake removes the one that it knows before a job adds to a run, and may be killed."""
    store = Store(tmp_path)
    for name in "abc":
        (published(store, name) / "record.json").unlink()
    whole = (store.run("a") / ".record.json").read_bytes()
    (store.run("b") / ".record.json").write_bytes(whole[:-30])
    os.rename(store.run("c"), store.run("moved"))
    assert store.has_record("runs", "a") and not store.archive_only_runs()
    actual, damaged = store.scan_records("runs")
    assert set(actual) == {"a"} and set(damaged) == {"b", "moved"}
    assert str(store.run("b") / ".record.json") in damaged["b"]
    assert (store.run("a") / "record.json").read_bytes() == whole
    assert not (store.run("moved") / "record.json").exists()


def test_a_damaged_copy_is_no_obstacle(tmp_path):
    folder = published(Store(tmp_path), "a")
    (folder / ".record.json").write_bytes(b"")
    assert records.read_finished_record(folder, "a".ljust(64, "0"))["name"] == "a"


def test_done_without_its_weights_is_damaged_among_results_alone(tmp_path):
    results_store = Store(tmp_path)
    published(results_store, "a", files={"weights.safetensors": {"bytes": 1, "sha256": "ab" * 32}})
    actual, damaged = results_store.scan_records("runs")
    assert not actual and "weights.safetensors is missing" in damaged["a"]
    (tmp_path / store.OLD_FORM_FILE).write_text("")  # a folder of records, as kdpipe 0.1 made it
    with pytest.raises(StoreError, match="as kdpipe 0\\.1 kept them"):
        results_store.load_records("runs")


FACTS = {"bytes": 1, "sha256": "ab" * 32}
READ = ["curve.jsonl", "outputs.safetensors", "best-outputs.safetensors"]  # by a report


@pytest.mark.parametrize("name", ["weights.safetensors", *READ])
def test_a_file_that_a_record_lists_and_that_is_gone_is_damage(name, tmp_path):
    """Else a report is silent on the runs whose curve or outputs somebody has removed."""
    store = Store(tmp_path)
    folder = published(store, "a", files={name: FACTS})
    (folder / name).touch()
    assert set(store.load_records("runs")) == {"a"}
    (folder / name).unlink()
    actual, damaged = store.scan_records("runs")
    assert not actual and f"{folder / name} is missing" in damaged["a"]


@pytest.mark.parametrize("name", READ)
def test_what_an_archive_beside_them_holds_of_a_file_will_do(name, tmp_path):
    store = Store(tmp_path)
    published(store, "a", files={name: FACTS})
    bits = {"images": 1, "wrong": "00"}
    held = ({"curve": []}, {"wrong": bits}, {"wrong_at_best": bits})
    for other, what in zip(READ, held, strict=True):
        entry = records.ArchiveEntry("runs", "a", "a".ljust(64, "0"), **what)
        records.write_archive(store.archive_path, [entry])
        actual, damaged = store.scan_records("runs")
        assert (set(actual), set(damaged)) == (({"a"}, set()) if other == name else (set(), {"a"}))


def test_a_run_that_is_done_and_lists_no_weights_is_damaged_among_results_alone(tmp_path):
    store = Store(tmp_path)
    trained = {"kind": "run", "device": {"type": "cpu", "name": "x"}, "seconds": {"total": 1.0}}
    published(store, "a", spec={"recipe": {"epochs": 1}}, files={}, **trained)
    actual, damaged = store.scan_records("runs")
    assert not actual and "lists no weights.safetensors" in damaged["a"]


# --- the lock


HOLD = """
import sys, time
from pathlib import Path
from kdpipe.runs import store
with store.lock_run_folder(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(folder, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_a_second_process_waits_until_the_first_is_out(tmp_path):
    first = hold(tmp_path, 3)  # longer than a second process takes to start on a loaded machine
    assert first.stdout.readline() == "in\n"
    started = time.monotonic()
    second = hold(tmp_path, 0)
    assert "another process works on it; waiting" in second.stdout.readline()
    assert second.stdout.readline() == "in\n"
    assert time.monotonic() - started > 0.2
    assert (first.wait(5), second.wait(5)) == (0, 0)


def test_a_lock_dies_with_its_holder(tmp_path):
    first = hold(tmp_path, 60)
    assert first.stdout.readline() == "in\n"
    second = hold(tmp_path, 0)
    assert "waiting" in second.stdout.readline()
    first.send_signal(signal.SIGKILL)
    assert second.stdout.readline() == "in\n"
    assert second.wait(5) == 0
    first.wait(5)
    with contextlib.ExitStack() as stack:  # and again, in this process
        stack.enter_context(store.lock_run_folder(tmp_path))


def test_locks_of_two_folders_do_not_meet(tmp_path):
    with store.lock_run_folder(tmp_path / "a"), store.lock_run_folder(tmp_path / "b"):
        assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(StoreError, match=r"run cannot be locked \(No locks available\): two jobs"),
        store.lock_run_folder(tmp_path / "run"),
    ):
        raise AssertionError("worked on without a lock")
    assert not store.is_running(tmp_path / "run")
