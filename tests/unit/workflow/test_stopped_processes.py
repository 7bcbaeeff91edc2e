"""A process that was stopped is named on the display, and goes on at Ctrl-C."""

import io
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from kdpipe.workflow import progress, stopped_processes

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
        f"`kill -CONT {grandchild}` lets it go on"
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
    watch = threading.Thread(target=reporter._watch_stopped)
    watch.start()
    time.sleep(0.2)
    reporter.close()
    watch.join(10)
    assert not watch.is_alive()
    (line,) = reporter.stream.getvalue().splitlines()
    assert line.startswith(f"stopped: process {grandchild} ")
