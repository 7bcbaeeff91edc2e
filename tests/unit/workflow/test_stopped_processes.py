"""A process that was stopped is named on the display, and goes on at Ctrl-C."""

import io
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from kdpipe.jobs import forkserver
from kdpipe.workflow import progress, stopped_processes
from kdpipe.workflow.stopped_processes import ServerWatch

# A process that starts another one, and prints its id.
NESTED = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "preload"])
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def grandchild():
    """The id of a process that was started by a child of this one, and is stopped."""
    with subprocess.Popen([sys.executable, "-c", NESTED], stdout=subprocess.PIPE, text=True) as top:
        assert top.stdout is not None
        pid = int(top.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        while state_of(pid) != "T":
            time.sleep(0.01)
        yield pid
        os.kill(pid, signal.SIGKILL)


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_what_runs_is_not_named():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        assert child.pid not in [process.pid for process in stopped_processes.find_stopped()]
        child.kill()


def test_a_stopped_process_is_named_and_goes_on(grandchild):
    (process,) = stopped_processes.find_stopped()
    assert process == (grandchild, "the server that starts the jobs")
    line = progress._format_stopped(process).plain
    assert line == (
        f"stopped: process {grandchild} (the server that starts the jobs) does nothing; "
        f"`kill -CONT {grandchild}` lets it continue"
    )
    stopped_processes.continue_stopped()
    while state_of(grandchild) == "T":
        time.sleep(0.01)
    assert stopped_processes.find_stopped() == []


def test_processes_of_others_are_left_alone(grandchild):
    code = "from kdpipe.workflow import stopped_processes; print(stopped_processes.find_stopped())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout == "[]\n"


def test_without_a_terminal_it_is_named_once(grandchild, monkeypatch):
    monkeypatch.setattr(progress, "STOPPED_SECONDS", 0.01)
    reporter = progress.ProgressReporter(io.StringIO())
    watch = threading.Thread(target=reporter._watch_jobs)
    watch.start()
    time.sleep(0.2)
    reporter.close()
    watch.join(10)
    assert not watch.is_alive()
    (line,) = reporter.stream.getvalue().splitlines()
    assert line.startswith(f"stopped: process {grandchild} ")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The id of a server as that of the jobs, which imports nothing for them."""
    monkeypatch.setenv(forkserver.FORKSERVER_VARIABLE, str(tmp_path))
    head_fd = os.pidfd_open(os.getpid())
    if (pid := os.fork()) == 0:
        try:
            forkserver._accept_jobs(tmp_path, head_fd, lambda argv: 0)
        finally:
            os._exit(1)
    while not (tmp_path / "socket").exists():
        time.sleep(0.01)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(head_fd)


def test_a_server_that_hangs_is_named(server, tmp_path, monkeypatch):
    """Though nobody has stopped it; one that answers, was stopped or has ended is not."""
    monkeypatch.setattr(stopped_processes, "SILENT_SECONDS", 1.5)
    watch = ServerWatch()
    for _ in range(12):  # it answers each second
        assert watch.find_silent() is None
        time.sleep(0.2)
    os.kill(server, signal.SIGSTOP)
    deadline = time.monotonic() + 30
    while watch.find_silent() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (line,) = progress._list_stuck(watch)
    assert line.plain.startswith(f"stopped: process {server} "), "that says more"
    monkeypatch.setattr(stopped_processes, "find_stopped", lambda: [])  # as if it were in a loop
    (line,) = progress._list_stuck(watch)
    assert line.plain == (
        f"no answer: process {server} (the server that starts the jobs) hangs; "
        f"`kill -9 {server}` ends it, and jobs start without it"
    )
    os.kill(server, signal.SIGCONT)
    while watch.find_silent() is not None:
        time.sleep(0.1)
    assert progress._list_stuck(watch) == []


def test_without_a_server_nothing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(stopped_processes, "SILENT_SECONDS", -1.0)
    watch = ServerWatch()
    for value in (None, str(tmp_path), str(tmp_path / "gone")):
        if value is None:
            monkeypatch.delenv(forkserver.FORKSERVER_VARIABLE, raising=False)
        else:
            monkeypatch.setenv(forkserver.FORKSERVER_VARIABLE, value)
        assert watch.find_silent() is watch.find_silent() is None
    (tmp_path / forkserver.ALIVE_FILE).write_text("nonsense")
    assert watch.find_silent() is watch.find_silent() is None
