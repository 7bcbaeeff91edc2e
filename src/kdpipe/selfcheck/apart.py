"""Functions in forked processes of their own: a crash, or a GPU that was upset, ends there.

The parent has imported torch and never asks it for a GPU, since CUDA does not survive a fork.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kdpipe.errors import KdpipeError

_DEATH_OF_PARENT = 1  # PR_SET_PDEATHSIG of Linux


class Fault(KdpipeError):
    """A function did not return: what it raised, or how its process ended, in one line."""


class Child:
    """A function at work in a process of its own; what it prints is added to the file `log`."""

    def __init__(self, function: Callable[[], Any], log: Path):
        sys.stdout.flush()
        sys.stderr.flush()
        self.pipe, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            _answer(function, log, write)
        os.close(write)

    def kill(self) -> None:
        """End it as if the power had gone; what it has started ends with it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def result(self, until: float) -> Any:
        """What the function returned. Raises Fault if it did not, by `until` on the clock."""
        said = b""
        while True:
            left = until - time.monotonic()
            ready, _, _ = select.select([self.pipe], [], [], max(0.0, left))
            if not ready:
                break
            more = os.read(self.pipe, 1 << 16)
            if not more:
                break
            said += more
        late = not said and time.monotonic() >= until
        self.kill()
        os.close(self.pipe)
        _, status = os.waitpid(self.pid, 0)
        try:
            answer = json.loads(said)
        except ValueError:
            if late:
                raise Fault("it took too long, and was ended") from None
            ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"code {status}"
            raise Fault(f"its process ended by {ended}") from None
        if "error" in answer:
            raise Fault(answer["error"])
        return answer["result"]


def together(functions: Sequence[Callable[[], Any]], log: Path, until: float) -> list[Any]:
    """What functions return that are at work side by side. Raises Fault if one did not."""
    children = [Child(function, log) for function in functions]
    found, faults = [], []
    for child in children:
        try:
            found.append(child.result(until))
        except Fault as fault:
            faults.append(fault)
    if faults:
        raise faults[0]
    return found


def _answer(function: Callable[[], Any], log: Path, write: int) -> None:
    """In the child: the function's result as JSON into the pipe, and never return."""
    try:
        ctypes.CDLL(None).prctl(_DEATH_OF_PARENT, signal.SIGKILL)
        with open(log, "a", buffering=1) as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            try:
                answer = {"result": function()}
            except BaseException as error:
                traceback.print_exc()
                first = (str(error).strip() or repr(error)).splitlines()[0]
                whole = (
                    first if isinstance(error, KdpipeError) else f"{type(error).__name__}: {first}"
                )
                answer = {"error": whole}
            sys.stdout.flush()
            sys.stderr.flush()
        with os.fdopen(write, "wb") as pipe:
            pipe.write(json.dumps(answer).encode())
    finally:
        os._exit(0)
