"""Processes of a study on this machine that somebody has stopped (SIGSTOP, Ctrl-Z), or that hang.

A stopped job never ends, and nothing says why: the display names it, as it does the server that
starts the jobs when that no longer answers. A job that takes long is not judged: an epoch may last
an hour. Ctrl-C lets all of them go on,
so that the same signal ends them.
"""

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

import psutil  # which Snakemake needs

from kdpipe.jobs import forkserver

SILENT_SECONDS = 30.0  # without an answer of the server, which gives one each second
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
