"""Processes of a study on this machine that somebody has stopped (SIGSTOP, Ctrl-Z).

A stopped job never ends, and nothing says why: the display names it. Ctrl-C lets all of them go on,
so that the same signal ends them.
"""

import contextlib
from pathlib import Path
from typing import NamedTuple

import psutil  # which Snakemake needs

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
