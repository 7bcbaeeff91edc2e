"""The processes that share the parts of each batch of one run (`training.shards`).

The job of the run is the first of them. It starts the others, which build the same network, load
its state, and make the same steps; only the first one evaluates, keeps the state and writes files.
They exchange one tensor a step, by gloo on the CPU and NCCL on GPUs. Their rendezvous is a file in
a private folder, since a port could be used by others on the machine.

A process that fails hands its error over. If one is killed, the connections to it close, and the
run ends with a message; one that stays stopped is killed, since the others would wait for it
forever. When the job ends, in whatever way, so do the others. They ignore SIGINT and SIGTERM: the
job saves its state at the end of a step, which needs them.
"""

import contextlib
import datetime
import math
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from kdpipe.data import streaming
from kdpipe.errors import DataError, KdpipeError, StoreError

STOPPED_SECONDS = 5.0  # a process may be stopped: Ctrl-Z stops, and fg resumes, all at once
STUCK_SECONDS = 5.0  # from the end of another process until the job ends that waits for it
REPORT_SECONDS = 10.0  # from the end of a connection until the process that ended is known
# An epoch's evaluation, for which the others wait, may take hours: those that hang are watched.
TIMEOUT = datetime.timedelta(days=30)
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}  # all on this machine


# The errors that keep their kind when they are handed over.
_ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (KdpipeError, DataError, StoreError, torch.OutOfMemoryError)
}


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run, as one of them sees them.

    Attributes
    ----------
    rank : int
        Which this process is; 0 is the job.
    processes : int
        How many there are.
    raise_broken : callable
        Raises the error behind a connection that was closed.
    """

    rank: int = 0
    processes: int = 1
    raise_broken: Callable[[], None] = lambda: None

    def gather(self, own: Tensor) -> Tensor:
        """Return the tensors (processes, ...) of all processes, in their order.

        Raises
        ------
        KdpipeError
            If another process has ended.
        """
        if self.processes == 1:
            return own[None]
        rows = own.new_empty((self.processes, *own.shape))
        try:
            dist.all_gather(list(rows), own)
        except RuntimeError:
            self.raise_broken()
            raise
        return rows


@dataclass(eq=False)
class _Worker:
    """A process that was started, and the connection on which it hands over its error."""

    rank: int
    processes: int
    process: Any
    errors: Connection
    error: Exception | None = None

    def __str__(self) -> str:
        """Return its name in messages."""
        return f"process {self.rank + 1} of {self.processes} of this run (pid {self.process.pid})"

    def is_stopped(self) -> bool:
        """Return whether a signal has stopped it."""
        try:
            return psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:  # it has ended
            return False

    def find_error(self) -> Exception | None:
        """Return the error that it has handed over, or another one if it has failed without."""
        code = self.process.exitcode
        with contextlib.suppress(EOFError, OSError):
            if self.error is None and self.errors.poll():
                kind, text = self.errors.recv()
                self.error = _ERRORS.get(kind, RuntimeError)(text)
        if self.error or not code:
            return self.error
        how = f"was ended by {_name_signal(-code)}" if code < 0 else f"ended with code {code}"
        return KdpipeError(
            f"{self} {how} (SIGKILL: usually out of memory): start the run again, and it resumes "
            "from its saved state, also with another number of processes (processes_per_run)"
        )


@contextlib.contextmanager
def open_process_group(
    processes: int, device: torch.device, function: Callable[..., None], arguments: tuple
) -> Iterator[ProcessGroup]:
    """Start the other processes of a run, which end with the block.

    Parameters
    ----------
    processes : int
        How many there are with this one.
    device : torch.device
        The type of their devices.
    function : callable
        `function(group, *arguments)` is what the others run.
    arguments : tuple
        They are pickled.

    Yields
    ------
    ProcessGroup

    Raises
    ------
    KdpipeError
        If one of them fails, by an error of its own where it has one.
    """
    if processes == 1:
        yield ProcessGroup()
        return
    folder = Path(tempfile.mkdtemp(prefix="kdpipe-group-"))
    start = processes, str(folder / "rendezvous"), device.type
    workers: list[_Worker] = []
    watch = _Watch(workers)
    try:
        for rank in range(1, processes):
            workers.append(_start_worker((rank, *start), function, arguments))
        watch.start()
        with _join_group(0, *start):
            # By gloo the end of another process ends an exchange.
            watch.is_stuck = device.type == "cuda"
            yield ProcessGroup(0, processes, lambda: _raise_error(workers))
    finally:
        watch.is_over.set()
        for worker in workers:
            worker.process.kill()
            worker.process.join()
            worker.errors.close()
        shutil.rmtree(folder, ignore_errors=True)


def _start_worker(start: tuple, function: Callable[..., None], arguments: tuple) -> _Worker:
    """Start one process; a signal for the whole job does not reach it."""
    context = streaming.get_worker_context()
    receiver, sender = context.Pipe(duplex=False)
    # Not a daemon, which could not start workers that read images.
    process = context.Process(target=_run_worker, args=(sender, start, function, arguments))
    with streaming.block_sigterm():
        process.start()
    sender.close()
    return _Worker(start[0], start[1], process, receiver)


@contextlib.contextmanager
def _join_group(rank: int, processes: int, rendezvous: str, device_type: str) -> Iterator[None]:
    """Connect with the other processes, while the block runs."""
    backend = "nccl" if device_type == "cuda" else "gloo"
    os.environ.update(LOOPBACK)
    dist.init_process_group(
        backend,
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=processes,
        timeout=TIMEOUT,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


# --- what the job does about the others


def _raise_error(workers: list[_Worker]) -> None:
    """Raise the error of a process that has failed; return if there is none within seconds."""
    deadline = time.monotonic() + REPORT_SECONDS
    while time.monotonic() < deadline:
        for worker in workers:
            if error := worker.find_error():
                raise error
        time.sleep(0.05)


class _Watch(threading.Thread):
    """Kills processes that stay stopped, and ends a job that waits for one that has ended.

    Attributes
    ----------
    is_over : threading.Event
        Set when nothing is to be watched any more.
    is_stuck : bool
        Whether the end of another process would be waited for: while all connect, and on GPUs.
    """

    def __init__(self, workers: list[_Worker]):
        super().__init__(daemon=True)
        self.workers = workers
        self.is_over = threading.Event()
        self.is_stuck = True

    def run(self) -> None:
        """Watch the processes until all is over."""
        stopped_since: dict[_Worker, float] = {}
        failed_at = math.inf
        while not self.is_over.wait(1.0):
            now = time.monotonic()
            for worker in self.workers:
                if not worker.is_stopped():
                    stopped_since.pop(worker, None)
                elif now - stopped_since.setdefault(worker, now) > STOPPED_SECONDS:
                    print(f"kdpipe: {worker} was stopped, so it is killed", flush=True)
                    worker.process.kill()
                if self.is_stuck and not self.is_over.is_set() and (error := worker.find_error()):
                    failed_at = min(failed_at, now)
                    if now - failed_at > STUCK_SECONDS:
                        print(f"kdpipe: {error}", file=sys.stderr, flush=True)
                        os._exit(2 if isinstance(error, KdpipeError) else 1)


def _name_signal(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# --- in another process


def _run_worker(
    errors: Connection, start: tuple, function: Callable[..., None], arguments: tuple
) -> None:
    """Run a function as a member of the group; hand over its error."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    streaming.exit_with_parent()
    rank, processes, _, device_type = start
    if device_type == "cuda":
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[rank % len(gpus)]
    try:
        with _join_group(*start):
            function(ProcessGroup(rank, processes), *arguments)
    except BaseException as error:
        with contextlib.suppress(OSError):
            errors.send((type(error).__name__, str(error)))
        os._exit(1)
