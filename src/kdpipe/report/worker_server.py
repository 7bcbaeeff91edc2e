"""What the server of figure workers imports before it forks any of them.

It and its workers end with the process that needs them, however that ends. A stopped process reads
no pipe and handles no signal, so the kernel has to kill it; Linux does so on request.
"""

import ctypes
import os
import signal
import sys

import kdpipe.report.figure  # noqa: F401  imports Matplotlib, once for all workers

PR_SET_PDEATHSIG = 1  # for Linux's prctl


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


end_with_parent()
os.register_at_fork(after_in_child=end_with_parent)
