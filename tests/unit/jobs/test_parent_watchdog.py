"""The variable that names the head of a job: one of another start is ignored with a warning."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kdpipe.jobs import forkserver, parent_watchdog
from kdpipe.jobs.parent_watchdog import HEAD_VARIABLE, Head

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
# A job: it prints a line when it is tied, and goes on for ever.
JOB = """
import os, sys, time
from kdpipe.jobs import parent_watchdog
fds = parent_watchdog.open_parent_fd(os.environ.get(parent_watchdog.HEAD_VARIABLE))
parent_watchdog.watch_parents(fds)
print(len(fds), flush=True)
time.sleep(600 if fds else 0)
"""


@pytest.fixture
def other():
    """A process that is nobody's head."""
    process = subprocess.Popen(SLEEP)
    yield process
    process.kill()
    process.wait()


def head_of(process: subprocess.Popen) -> Head:
    start_time = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
    return replace(Head.of_this_process(), pid=process.pid, start_time=start_time)


def job(head: object, folder: Path) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = os.environ | {HEAD_VARIABLE: str(head)}
    return subprocess.Popen([sys.executable, "-c", JOB], cwd=folder, env=env, **pipes)


def test_a_head_is_read_back():
    head = Head.of_this_process()
    assert Head.parse(str(head)) == head and head.is_alive
    assert not replace(head, start_time=head.start_time + 1).is_alive  # its id is used again


@pytest.mark.parametrize("text", ["x", "123", "1:2:3", "-1:2:3:4", "1:2:3:4:5", "\x1b[2J:1:1:1"])
def test_nonsense_is_ignored_with_a_warning(text, capsys, monkeypatch):
    monkeypatch.setenv(HEAD_VARIABLE, text)
    assert parent_watchdog.open_parent_fd(text) == []
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "is nonsense, and is ignored: unset KDPIPE_HEAD" in message
    assert "\x1b" not in message and HEAD_VARIABLE not in os.environ


def test_without_a_variable_nothing_is_said(capsys):
    assert parent_watchdog.open_parent_fd(None) == []
    assert capsys.readouterr().err == ""


def test_a_process_that_has_not_started_this_one_is_ignored(other, capsys, tmp_path, monkeypatch):
    """Alive, dead, or with an id that is used again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parent_watchdog, "_is_orphan", lambda: False)
    head = head_of(other)
    reused = replace(head, start_time=head.start_time + 1)
    assert [parent_watchdog.open_parent_fd(str(each)) for each in (head, reused)] == [[], []]
    other.kill()
    other.wait()
    assert parent_watchdog.open_parent_fd(str(head)) == []
    assert capsys.readouterr().err.count("names a process that has not started this one") == 3


def test_of_another_namespace_nothing_is_known(other, capsys):
    head = replace(head_of(other), namespace="4026530000")
    assert parent_watchdog.open_parent_fd(str(head)) == []
    assert capsys.readouterr().err == ""


def test_a_job_ends_with_its_head_and_says_so(other, tmp_path, monkeypatch):
    """Which has noted its token in the folder; a job that starts when it is dead ends at once."""
    monkeypatch.chdir(tmp_path)
    head = head_of(other)
    head.note_token()
    running = job(head, tmp_path)
    assert running.stdout is not None and running.stdout.readline() == "1\n"
    other.kill()
    other.wait()
    for ended in (running, job(head, tmp_path)):
        output, error = ended.communicate(timeout=60)
        assert (output, error) == ("", f"{parent_watchdog.ENDED_MESSAGE}\n")
        assert ended.returncode == -15


def test_a_child_is_tied_to_its_parent(tmp_path):
    """Without a token in the folder: as what `kdpipe plan --measure` starts."""
    child = job(Head.of_this_process(), tmp_path)
    assert child.stdout is not None and child.stdout.readline() == "1\n"
    child.kill()
    child.communicate()


def test_starts_that_share_a_folder_stand_side_by_side(tmp_path, monkeypatch, other):
    """Whatever their order; those that have ended go, and so does what is none."""
    monkeypatch.chdir(tmp_path)
    gone, one, two = head_of(other), Head.of_this_process(), Head.of_this_process()
    elsewhere = replace(gone, namespace="4026530000", token="e")
    for head in (gone, elsewhere, one):
        head.note_token()
    with parent_watchdog.TOKENS_FILE.open("a") as file:
        file.write("0123456789abcdef\n")  # of an earlier version
    assert str(gone) in parent_watchdog.TOKENS_FILE.read_text()
    other.kill()
    other.wait()
    two.note_token()
    expected = [str(head) for head in (elsewhere, one, two)]
    assert parent_watchdog.TOKENS_FILE.read_text().split() == expected
    assert [path.name for path in tmp_path.glob(".snakemake/*")] == ["kdpipe.heads"]


def test_of_starts_at_the_same_time_none_erases_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    heads = [Head.of_this_process() for _ in range(12)]
    children = []
    for head in heads:
        if (child := os.fork()) == 0:
            head.note_token()
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 12
    lines = parent_watchdog.TOKENS_FILE.read_text().split()
    assert sorted(lines) == sorted(map(str, heads))


def test_a_fork_server_of_another_start_is_ignored(other, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "kdpipe-x"
    folder.mkdir()
    file, variable = folder / forkserver.HEAD_FILE, forkserver.FORKSERVER_VARIABLE
    monkeypatch.delenv(variable, raising=False)
    assert not forkserver.has_forkserver()
    for content in (str(Head.of_this_process()), str(head_of(other)), "nonsense", None):
        monkeypatch.setenv(variable, str(folder))
        file.write_text(content) if content else file.unlink()
        is_own = content is not None and content.startswith(f"{os.getpid()}:")
        assert forkserver.has_forkserver() is is_own
        assert (variable in os.environ) is is_own
    assert capsys.readouterr().err.count("is of another start and is ignored") == 3
