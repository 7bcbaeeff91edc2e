"""The lock of a folder: what a killed Snakemake has left goes, what a living one has stays."""

import fcntl
import os

from kdpipe.workflow import preflight


def test_only_who_is_alone_takes_locks_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preflight.SNAKEMAKE_LOCKS.mkdir(parents=True)
    reference = [preflight.SNAKEMAKE_LOCKS / f"0.{kind}.lock" for kind in ("input", "output")]
    for path in reference:
        path.write_text("results/runs/x/record.json\n")
    other = os.open(preflight.LOCK_FILE, os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_SH)  # a start that is alive
    assert preflight.acquire_lock() is None and all(path.exists() for path in reference)
    os.close(other)
    assert preflight.acquire_lock() is None and all(
        path.exists() for path in reference
    )  # this one is alive too


def test_a_start_after_one_that_was_killed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert preflight.acquire_lock() == 0  # a folder that nobody has worked in
    (tmp_path / "b" / preflight.SNAKEMAKE_LOCKS).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "b")
    (preflight.SNAKEMAKE_LOCKS / "0.input.lock").touch()
    assert preflight.acquire_lock() == 1 and not list(preflight.SNAKEMAKE_LOCKS.iterdir())
