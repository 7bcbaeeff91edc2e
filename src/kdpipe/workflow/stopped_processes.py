"""Processes of a study on this machine that somebody has stopped (SIGSTOP, Ctrl-Z).

A stopped job never ends, and nothing says why: the display names it. Ctrl-C lets all of them go on,
so that the same signal ends them.
"""

import contextlib
import os
import signal
from pathlib import Path
from typing import NamedTuple

STOPPED_STATES = ("T", "t")  # by a signal, by a debugger


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
    parents: dict[int, int] = {}
    stopped: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):  # it has ended meanwhile
            continue
        parents[int(folder.name)] = int(parent)
        if state in STOPPED_STATES:
            stopped.append(int(folder.name))
    return [
        StoppedProcess(pid, _read_command(pid)) for pid in stopped if _is_descendant(pid, parents)
    ]


def continue_stopped() -> None:
    """Let all stopped processes below this one go on; a signal that they were sent takes effect."""
    for process in find_stopped():
        with contextlib.suppress(OSError):
            os.kill(process.pid, signal.SIGCONT)


def _is_descendant(pid: int, parents: dict[int, int]) -> bool:
    """Return whether a process was started by this one, directly or not."""
    own = os.getpid()
    while pid in parents:
        pid = parents[pid]
        if pid == own:
            return True
    return False


def _read_command(pid: int) -> str:
    """Return what a process is, in few words."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return ""
    if "preload" in words:
        return "the server that starts the jobs"
    return " ".join(Path(word).name if word.startswith("/") else word for word in words[:5]).strip()
