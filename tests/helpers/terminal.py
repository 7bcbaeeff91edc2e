"""A terminal that a command is typed in: it has a width, and Ctrl-C ends what runs in it."""

import os
import pty
import re
import signal
import termios
import time
from pathlib import Path

from helpers.waiting import readable

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")  # colours and movements
PATIENCE = 300  # seconds


class Terminal:
    """A process with a terminal of its own; `said` is all that it has written so far."""

    def __init__(self, command: list[str], cwd: Path, env: dict[str, str]):
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            # Which is ignored by all that a shell has started without waiting for it.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execve(command[0], command, env | {"TERM": "xterm"})
        termios.tcsetwinsize(self.end, (40, 160))
        self.bytes = b""
        self.code: int | None = None

    @property
    def said(self) -> str:
        return CONTROL.sub("", self.bytes.decode(errors="replace"))

    def read(self, seconds: float) -> bool:
        """Read what is written within some seconds; whether there may be more."""
        if not readable(self.end, seconds):
            return True
        try:
            self.bytes += os.read(self.end, 1 << 16)
        except OSError:  # nobody has it open any more
            return False
        return True

    def until(self, true) -> None:
        over = time.monotonic() + PATIENCE
        while not true():
            assert self.read(0.02) and time.monotonic() < over, self.said

    def type(self, keys: bytes) -> None:
        os.write(self.end, keys)

    def ended(self) -> int:
        """The exit code, when all has been written."""
        over = time.monotonic() + PATIENCE
        while self.read(0.2):
            assert time.monotonic() < over, self.said
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.end)
        return self.code
