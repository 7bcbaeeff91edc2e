"""Functions in forked processes of their own: a crash, or a GPU that was upset, ends there.

The parent has imported torch and never asks it for a GPU, since CUDA does not survive a fork.
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
_DEATH_OF_PARENT = 1  # PR_SET_PDEATHSIG of Linux


class Fault(KdpipeError):
    """A function did not return: what it raised, or how its process ended, in one line."""


class Child:
    """A function at work in a process of its own; what it prints is added to the file `log`."""

    def __init__(self, function: Callable[[], Any], log: Path):
        self.said, theirs = _FORK.Pipe(duplex=False)
        self.process = _FORK.Process(target=_answer, args=(function, log, theirs))
        self.process.start()
        theirs.close()

    def kill(self) -> None:
        """End it as if the power had gone; what it has started ends with it."""
        self.process.kill()

    def result(self, until: float) -> Any:
        """What the function returned. Raises Fault if it did not, by `until` on the clock."""
        late = not self.said.poll(max(0.0, until - time.monotonic()))
        try:
            answer = None if late else json.loads(self.said.recv_bytes())
        except EOFError:
            answer = None
        self.said.close()
        if answer is None and not late:
            self.process.join()  # it has ended by itself
        self.kill()
        self.process.join()
        if late:
            raise Fault("it took too long, and was ended")
        if answer is None:
            code = self.process.exitcode or 0
            raise Fault(f"its process ended by {f'signal {-code}' if code < 0 else f'code {code}'}")
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


def _answer(function: Callable[[], Any], log: Path, said: Connection) -> None:
    """In the child: what the function returns, or why it does not, as JSON."""
    ctypes.CDLL(None).prctl(_DEATH_OF_PARENT, signal.SIGKILL)
    with open(log, "a", buffering=1) as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    try:
        answer = {"result": function()}
    except BaseException as error:
        traceback.print_exc()
        first = (str(error).strip() or repr(error)).splitlines()[0]
        whole = first if isinstance(error, KdpipeError) else f"{type(error).__name__}: {first}"
        answer = {"error": whole}
    sys.stdout.flush()
    sys.stderr.flush()
    said.send_bytes(json.dumps(answer).encode())
