"""A watchdog that ends a job when the head process of its study ends for any reason.

The head writes its process id into the environment of its jobs on this machine. A thread of the job
waits for the end of that process, which the kernel reports even if it was killed, and then sends
SIGTERM: a training saves its state and exits, everything else is cut off before it has renamed its
files. Jobs on the nodes of a cluster have no watchdog: they outlive the head and are cancelled
through their queue.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterable, Iterator

HEAD_VARIABLE = "KDPIPE_HEAD"  # in the environment of jobs: the process id of their study's head
GRACE_SECONDS = 60.0  # seconds for the state of a training to be saved


@contextlib.contextmanager
def tie_children() -> Iterator[None]:
    """Let the commands of kdpipe that are started inside the block end with this process."""
    os.environ[HEAD_VARIABLE] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[HEAD_VARIABLE]


def open_parent_fd(head_pid: str | None) -> list[int]:
    """Return a list with the descriptor that becomes readable when the head ends.

    If the head has ended already, this process ends too. The list is empty without a process id, or
    for a process of another namespace.
    """
    try:
        return [os.pidfd_open(int(head_pid or ""))]
    except ProcessLookupError:  # it has ended
        os.kill(os.getpid(), signal.SIGTERM)
    except (ValueError, OSError):  # no head, another namespace, no permission
        pass
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
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
