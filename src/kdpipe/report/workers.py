"""Worker processes that draw figures while the process of a report analyzes its records.

They are forked from a fork server that has a single thread and has imported Matplotlib: a fork of
the report's own process, with whatever threads its libraries have, could hang. The bytes of a
figure do not depend on the process that draws it.

What a worker was to draw that was killed, the process of the report draws itself. One that is
stopped (SIGSTOP) would be waited for forever: it is named, and killed. When the process of the
report ends, the kernel ends them too (`worker_server`).
"""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import psutil

PRELOADED_MODULES = ["kdpipe.report.worker_server"]
SINGLE_THREADED = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
STOPPED_SECONDS = 2.0  # a process may be stopped: Ctrl-Z stops, and fg resumes, all at once
STOPPED_STATES = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
BROKEN_ERRORS = (BrokenProcessPool, EOFError, ConnectionError)  # a worker, or their server, killed

Submit = Callable[..., Future]


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """Let libraries that are imported inside, and child processes, use one thread.

    The matrices of a report are so small that further threads only wait for each other.
    """
    earlier = {name: os.environ.pop(name, None) for name in SINGLE_THREADED}
    os.environ.update(SINGLE_THREADED)
    try:
        yield
    finally:
        for name, value in earlier.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def start_server() -> int:
    """Start the server that workers are forked from, which imports while this process goes on.

    Returns
    -------
    int
        How many workers to use: one for each core, or 1 where there can be no server.
    """
    count = len(os.sched_getaffinity(0))
    if count > 1:
        multiprocessing.set_forkserver_preload(PRELOADED_MODULES)
        try:
            with single_threaded():
                multiprocessing.forkserver.ensure_running()
        except OSError:  # no room for its socket
            return 1
    return count


@contextlib.contextmanager
def open_workers(count: int, inputs: tuple) -> Iterator[Submit]:
    """Open worker processes that all have the same inputs; they end with the block.

    Parameters
    ----------
    count : int
        The number of workers; with 1 everything is computed in this process when it is submitted.
    inputs : tuple
        The last arguments of all functions that will be submitted.

    Yields
    ------
    callable
        `submit(function, *arguments)` returns the `Future` of `function(*arguments, *inputs)`.
    """
    if count == 1:
        yield lambda function, *arguments: _run_now(function, *arguments, *inputs)
        return
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(count, context, initializer=_start_worker, initargs=inputs)

    def submit(function: Callable, *arguments: Any) -> Future:
        try:
            return pool.submit(_run_in_worker, function, *arguments)
        except BROKEN_ERRORS:
            return _run_now(function, *arguments, *inputs)

    is_over = threading.Event()
    threading.Thread(target=_kill_stopped_until, args=(is_over,), daemon=True).start()
    try:
        yield submit
    finally:
        for process in _list_stopped():  # the pool would wait for them
            _kill(process)
        pool.shutdown(cancel_futures=True)
        is_over.set()


def get_result(future: Future, function: Callable, *arguments: Any) -> Any:
    """Return the result of a future; if its worker was killed, call the function here."""
    try:
        return future.result()
    except BrokenProcessPool:
        return function(*arguments)


def _kill_stopped_until(is_over: threading.Event) -> None:
    """Name and kill each process below this one that stays stopped, until an event is set."""
    earlier: list[psutil.Process] = []
    while not is_over.wait(STOPPED_SECONDS):
        stopped = _list_stopped()
        for process in stopped:
            if process in earlier:
                print(
                    f"kdpipe: process {process.pid}, which draws figures, was stopped, so it is "
                    "killed, and its figures are drawn without it",
                    file=sys.stderr,
                )
                _kill(process)
        earlier = stopped


def _list_stopped() -> list[psutil.Process]:
    """Return the stopped processes below this one."""
    stopped = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if child.status() in STOPPED_STATES:
                stopped.append(child)
    return stopped


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()


def _run_now(function: Callable, *arguments: Any) -> Future:
    future: Future = Future()
    future.set_result(function(*arguments))
    return future


# --- in a worker

_inputs: tuple = ()


def _start_worker(*inputs: Any) -> None:
    global _inputs
    _inputs = inputs
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the report, and that its workers
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_in_worker(function: Callable, *arguments: Any) -> Any:
    return function(*arguments, *_inputs)
