"""The lock of a folder: what a killed Snakemake has left goes, what a living one has stays."""

import fcntl
import os

from kdpipe.workflow import lock


def test_only_who_is_alone_takes_locks_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock.THEIRS.mkdir(parents=True)
    theirs = [lock.THEIRS / f"0.{kind}.lock" for kind in ("input", "output")]
    for path in theirs:
        path.write_text("results/runs/x/record.json\n")
    other = os.open(lock.HELD, os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_SH)  # a start that is alive
    assert lock.hold() is None and all(path.exists() for path in theirs)
    os.close(other)
    assert lock.hold() is None and all(path.exists() for path in theirs)  # this one is alive too


def test_a_start_after_one_that_was_killed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lock.hold() == 0  # a folder that nobody has worked in
    (tmp_path / "b" / lock.THEIRS).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "b")
    (lock.THEIRS / "0.input.lock").touch()
    assert lock.hold() == 1 and not list(lock.THEIRS.iterdir())
