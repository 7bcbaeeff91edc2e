"""A watchdog that ends a job when the head process of its study ends for any reason.

The head writes into the environment of its jobs on this machine who it is: its process id, the time
at which that process started, the namespace of process ids, and a token, which it also notes in the
folder it works in. A thread of the job waits for the end of that process, which the kernel reports
even if it was killed, and then sends SIGTERM: a training saves its state and exits, everything else
is cut off before it has renamed its files. A variable of another start, which somebody's shell may
hold, is ignored with a warning. Jobs on the nodes of a cluster have no watchdog: they outlive the
head and are cancelled through their queue.
"""

import contextlib
import fcntl
import os
import secrets
import select
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kdpipe.text import format_value

HEAD_VARIABLE = "KDPIPE_HEAD"  # in the environment of jobs: the head of their study (`Head`)
TOKENS_FILE = Path(".snakemake") / "kdpipe.heads"  # the starts in a folder, one a line
GRACE_SECONDS = 60.0  # seconds for the state of a training to be saved
ENDED_MESSAGE = "kdpipe: the process that started this job has ended, so the job ends too"


@dataclass(frozen=True)
class Head:
    """A head process, as the environment of its jobs names it.

    Attributes
    ----------
    pid : int
        Its process id.
    start_time : int
        When it started, in clock ticks since the machine did: a process id is used again.
    namespace : str
        Its namespace of process ids, of which a container has one of its own.
    token : str
        A random text, in the environment of this start alone.
    """

    pid: int
    start_time: int
    namespace: str
    token: str

    @classmethod
    def of_this_process(cls) -> "Head":
        """Return this process as a head, with a new token."""
        pid = os.getpid()
        return cls(pid, _read_start_time(pid) or 0, _read_namespace(), secrets.token_hex(8))

    @classmethod
    def parse(cls, text: str) -> "Head | None":
        """Return the head that a variable names; None if it is nonsense."""
        pid, *rest = text.split(":")
        if len(rest) != 3 or not all(part.isascii() and part.isdigit() for part in (pid, rest[0])):
            return None
        return cls(int(pid), int(rest[0]), rest[1], rest[2])

    def __str__(self) -> str:
        """Return the value of the environment variable."""
        return f"{self.pid}:{self.start_time}:{self.namespace}:{self.token}"

    @property
    def is_alive(self) -> bool:
        """Return whether that process runs, and not another one with its id."""
        return _read_start_time(self.pid) == self.start_time

    @property
    def has_started_this(self) -> bool:
        """Return whether this process is a job or a child of that start, though it may be dead."""
        if self.is_alive and os.getppid() == self.pid:
            return True
        try:
            if str(self) in TOKENS_FILE.read_text("utf-8").split():
                return True
        except (OSError, ValueError):
            pass
        return not self.is_alive and _is_orphan()

    def note_token(self) -> None:
        """Note this start in the current folder, in which its jobs are started.

        Starts that have ended are left out; one that is made at the same time stays.
        """
        with contextlib.suppress(OSError):
            TOKENS_FILE.parent.mkdir(exist_ok=True)
            folder_fd = os.open(TOKENS_FILE.parent, os.O_RDONLY)
            try:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(folder_fd, fcntl.LOCK_EX)
                lines = [*map(str, _list_other_heads()), str(self)]
                new_file = TOKENS_FILE.with_name(f".{TOKENS_FILE.name}.{self.token}.tmp")
                new_file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
                new_file.replace(TOKENS_FILE)
            finally:
                os.close(folder_fd)


def _list_other_heads() -> list[Head]:
    """Return the starts noted in the current folder that have not ended, as far as is known."""
    try:
        heads = map(Head.parse, TOKENS_FILE.read_text("utf-8").split())
    except (OSError, ValueError):
        return []
    namespace = _read_namespace()
    return [head for head in heads if head and (head.is_alive or head.namespace != namespace)]


@contextlib.contextmanager
def tie_children() -> Iterator[None]:
    """Let the commands of kdpipe that are started inside the block end with this process."""
    os.environ[HEAD_VARIABLE] = str(Head.of_this_process())
    try:
        yield
    finally:
        del os.environ[HEAD_VARIABLE]


def open_parent_fd(variable: str | None) -> list[int]:
    """Return a list with the descriptor that becomes readable when the head ends.

    If the head has ended already, this process ends too. The list is empty without a head, for one
    of another namespace, and, with a warning, for one that has not started this process.
    """
    head = Head.parse(variable) if variable else None
    if head is None or (head.namespace == _read_namespace() and not head.has_started_this):
        if variable:
            problem = "names a process that has not started this one" if head else "is nonsense"
            print(
                f"kdpipe: {HEAD_VARIABLE}={format_value(variable)} {problem}, and is ignored: "
                f"unset {HEAD_VARIABLE}",
                file=sys.stderr,
            )
            os.environ.pop(HEAD_VARIABLE, None)  # of a command that this one starts, too
        return []
    return open_process(head)


def open_process(head: Head) -> list[int]:
    """Return a list with the descriptor of a head, of none in another namespace.

    If the head has ended already, this process ends too.
    """
    if head.namespace != _read_namespace():
        return []
    try:
        fd = os.pidfd_open(head.pid)
        if head.is_alive:
            return [fd]
        os.close(fd)  # another process has got its id
    except ProcessLookupError:
        pass
    except OSError:  # no permission
        return []
    _end_this_process()
    return []


def watch_parents(fds: Iterable[int]) -> None:
    """End this process when one of these descriptors becomes readable."""
    if fds := list(fds):
        threading.Thread(target=_wait_for_end, args=(fds,), name="leash", daemon=True).start()


def _wait_for_end(fds: Iterable[int]) -> None:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN | select.POLLHUP)
    poll.poll()
    _end_this_process()
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _end_this_process() -> None:
    """Send SIGTERM to this process, and say why."""
    with contextlib.suppress(OSError):
        os.write(2, f"{ENDED_MESSAGE}\n".encode())
    os.kill(os.getpid(), signal.SIGTERM)


def _read_start_time(pid: int) -> int | None:
    """Return when a process has started, in clock ticks; None if there is none, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def _read_namespace() -> str:
    """Return the namespace of process ids that this process is in."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def _is_orphan() -> bool:
    """Return whether the process that has started this one has ended.

    The kernel gives its children to another one then: the first of all, or the user's own, which is
    in another session.
    """
    parent = os.getppid()
    try:
        return parent <= 1 or os.getsid(parent) != os.getsid(0)
    except OSError:
        return True
