"""Processes of a study on this machine that are stopped (SIGSTOP, Ctrl-Z), hang, or are to end.

A stopped job never ends, and nothing says why: the display names it, as it does the server that
starts the jobs when that no longer answers. A job that takes long is not judged: an epoch may last
an hour. Ctrl-C resumes all of them, so that the same signal ends them. A terminal sends that signal
to every process; `kill -INT` sends it to Snakemake alone, which then waits for its jobs, so those
that are still there some seconds later are ended.
"""

import contextlib
import threading
import time
from pathlib import Path
from typing import NamedTuple

import psutil  # which Snakemake needs

from kdpipe.jobs import forkserver
from kdpipe.jobs.parent_watchdog import HEAD_VARIABLE, Head

SILENT_SECONDS = 30.0  # without an answer of the server, which gives one each second
GRACE_SECONDS = 5.0  # for jobs to end by a signal of their own
STOPPED_STATES = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


class StoppedProcess(NamedTuple):
    """A stopped process below this one.

    Attributes
    ----------
    pid : int
        Its process id.
    command : str
        What it is: the first words of its command line.
    """

    pid: int
    command: str


def find_stopped() -> list[StoppedProcess]:
    """Return the stopped processes among all that this process has started, directly or not."""
    return [StoppedProcess(child.pid, _describe(child)) for child in _list_stopped()]


class ServerWatch:
    """Whether the server that starts the jobs of this study answers."""

    def __init__(self) -> None:
        self._heartbeat: tuple[int, int] | None = None
        self._time = time.monotonic()

    def find_silent(self) -> int | None:
        """Return the process id of a server without an answer for some time; None if it answers."""
        heartbeat = forkserver.read_heartbeat()
        if heartbeat is None or heartbeat != self._heartbeat:
            self._heartbeat, self._time = heartbeat, time.monotonic()
        elif time.monotonic() - self._time > SILENT_SECONDS and psutil.pid_exists(heartbeat[0]):
            return heartbeat[0]
        return None


def continue_stopped() -> None:
    """Let all stopped processes below this one go on; a signal that they were sent takes effect."""
    for child in _list_stopped():
        with contextlib.suppress(psutil.Error):
            child.resume()


def continue_orphans() -> list[int]:
    """Let stopped jobs in this folder go on whose head has ended, by which they end too.

    While they are stopped they keep the locks of their runs. Returns their process ids.
    """
    continued: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # of another user, or it has ended
            if (
                process.status() in STOPPED_STATES
                and Path(process.cwd()).samefile(".")
                and _is_orphan(process)
            ):
                process.resume()
                continued.append(process.pid)
    return continued


def _is_orphan(process: psutil.Process) -> bool:
    """Return whether a process is a job whose head has ended."""
    words = process.cmdline()  # of a job that a server has forked: those of the server
    text = words[-1] if "preload" in words else process.environ().get(HEAD_VARIABLE, "")
    head = Head.parse(text)
    return head is not None and not head.is_alive


def end_jobs_later() -> None:
    """Send SIGTERM to all jobs below this process that are still there after some seconds.

    A training then saves its state. The server that starts the jobs ends with this process.
    """
    timer = threading.Timer(GRACE_SECONDS, _end_jobs)
    timer.daemon = True
    timer.start()


def _end_jobs() -> None:
    """Send SIGTERM to all jobs below this process."""
    head = psutil.Process()
    for child in head.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = child.cmdline()  # of a job that the server has forked: those of the server
            is_server = "preload" in words and child.ppid() == head.pid
            if "kdpipe" in (Path(word).name for word in words) and not is_server:
                child.terminate()


def _list_stopped() -> list[psutil.Process]:
    """Return the stopped processes below this one."""
    stopped = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if child.status() in STOPPED_STATES:
                stopped.append(child)
    return stopped


def _describe(process: psutil.Process) -> str:
    """Return what a process is, in few words."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return ""
    if "preload" in words:
        return "the server that starts the jobs"
    return " ".join(Path(word).name if word.startswith("/") else word for word in words[:5]).strip()
