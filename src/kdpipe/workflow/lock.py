"""The lock of a folder that starts work in: it tells a living start from one that was killed.

Snakemake locks a folder by files, which stay when it is killed. Every start of a study holds a lock
of the kernel's beside them, which does not: who gets it alone knows that nobody works there, and
takes the files away that a killed one has left.
"""

import contextlib
import fcntl
import os
from pathlib import Path

HELD = Path(".snakemake") / "kdpipe.lock"
THEIRS = Path(".snakemake") / "locks"


def hold() -> int | None:
    """Hold the lock of this folder until the process ends.

    Returns how many files of a killed Snakemake were taken away; None where another start is at
    work, or where the file system has no locks: then Snakemake's own have the say.
    """
    with contextlib.suppress(OSError):
        HELD.parent.mkdir(exist_ok=True)
        held = os.open(HELD, os.O_RDWR | os.O_CREAT, 0o666)  # never closed, and no child has it
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stale = list(THEIRS.glob("*.lock"))
            for path in stale:
                path.unlink()
            return len(stale)
        except BlockingIOError:
            return None
        finally:
            # Shared: two studies that have no file in common may be at work beside each other.
            fcntl.flock(held, fcntl.LOCK_SH)
    return None
