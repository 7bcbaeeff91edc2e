"""A job ends with whoever it works for: with the head of its study, in whatever way that ends.

The head writes its process id into the environment of its jobs on this machine. A thread waits for
the end of that process, which the kernel tells even of one that was killed, and sends SIGTERM then:
a training saves its state and leaves, everything else is cut off before it has written its name.
Jobs on a cluster's nodes have no leash: they outlive their head, and are cancelled by their queue.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterable, Iterator

HEAD = "KDPIPE_HEAD"  # in the environment of jobs: the process id of their study's head
PATIENCE = 60.0  # seconds for the state of a training to be saved


@contextlib.contextmanager
def to_me() -> Iterator[None]:
    """Commands of kdpipe that are started inside end with this process."""
    os.environ[HEAD] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[HEAD]


def end_of(head: str | None) -> list[int]:
    """A descriptor that can be read from when the process with this id has ended; none of none."""
    try:
        return [os.pidfd_open(int(head or ""))]
    except ProcessLookupError:  # it has ended
        os.kill(os.getpid(), signal.SIGTERM)
    except (ValueError, OSError):  # no head, another namespace, no permission
        pass
    return []


def hold(ends: Iterable[int]) -> None:
    """End this process when one of these descriptors can be read from."""
    if ends := list(ends):
        threading.Thread(target=_wait, args=(ends,), name="leash", daemon=True).start()


def _wait(ends: Iterable[int]) -> None:
    waiting = select.poll()
    for end in ends:
        waiting.register(end, select.POLLIN | select.POLLHUP)
    waiting.poll()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os.kill(os.getpid(), signal.SIGKILL)
