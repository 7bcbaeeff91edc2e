"""Calling functions in forked processes, so that a crash or a broken GPU context ends there.

The parent has imported torch and never uses a GPU, since CUDA does not survive a fork.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from kdpipe.errors import KdpipeError

_FORK = multiprocessing.get_context("fork")
PR_SET_PDEATHSIG = 1  # of Linux's prctl


class SubprocessError(KdpipeError):
    """Error of a function that did not return: what it raised, or how its process ended."""


class ForkedCall:
    """A call of a function in a process of its own, whose output is added to the file `log`."""

    def __init__(self, function: Callable[[], Any], log: Path):
        self.receiver, sender = _FORK.Pipe(duplex=False)
        self.process = _FORK.Process(target=_run_in_child, args=(function, log, sender))
        self.process.start()
        sender.close()

    def kill(self) -> None:
        """Kill the process; processes that it has started end with it."""
        self.process.kill()

    def result(self, deadline: float) -> Any:
        """Return the result of the function, or raise SubprocessError at the deadline."""
        is_late = not self.receiver.poll(max(0.0, deadline - time.monotonic()))
        try:
            reply = None if is_late else json.loads(self.receiver.recv_bytes())
        except EOFError:
            reply = None
        self.receiver.close()
        if reply is None and not is_late:
            self.process.join()  # it has ended by itself
        self.kill()
        self.process.join()
        if is_late:
            raise SubprocessError("it took too long, and was ended")
        if reply is None:
            code = self.process.exitcode or 0
            raise SubprocessError(
                f"its process ended by {f'signal {-code}' if code < 0 else f'code {code}'}"
            )
        if "error" in reply:
            raise SubprocessError(reply["error"])
        return reply["result"]


def run_parallel(functions: Sequence[Callable[[], Any]], log: Path, deadline: float) -> list[Any]:
    """Call functions in parallel; return their results, or raise the first SubprocessError.

    Parameters
    ----------
    functions : sequence of callable
        The functions; their results go through JSON.
    log : Path
        File that their output is added to.
    deadline : float
        When they have to have returned, by the monotonic clock.
    """
    children = [ForkedCall(function, log) for function in functions]
    results, errors = [], []
    for child in children:
        try:
            results.append(child.result(deadline))
        except SubprocessError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return results


def _run_in_child(function: Callable[[], Any], log: Path, sender: Connection) -> None:
    """Call the function in the child, and send its result or its error as JSON."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with open(log, "a", buffering=1) as log_file:
        os.dup2(log_file.fileno(), 1)
        os.dup2(log_file.fileno(), 2)
    try:
        reply = {"result": function()}
    except BaseException as error:
        traceback.print_exc()
        first_line = (str(error).strip() or repr(error)).splitlines()[0]
        message = (
            first_line
            if isinstance(error, KdpipeError)
            else f"{type(error).__name__}: {first_line}"
        )
        reply = {"error": message}
    sys.stdout.flush()
    sys.stderr.flush()
    sender.send_bytes(json.dumps(reply).encode())
