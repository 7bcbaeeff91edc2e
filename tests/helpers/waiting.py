"""Waiting for a file descriptor; `select.select` takes none above 1,023, and a session has more."""

import select


def readable(one, seconds: float) -> bool:
    """Whether there is something to read, or its other end is closed, within some seconds."""
    waiting = select.poll()
    waiting.register(one, select.POLLIN | select.POLLHUP)
    return bool(waiting.poll(1000 * seconds))
