"""Workers of a report: results, a worker or a report that is killed, threads."""

import operator
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest

from kdpipe.report import workers
from kdpipe.stats.error_provenance import ErrorWithProvenance

BUSY = """
import os, time
from kdpipe.report import workers
with workers.open_workers(2, ()) as submit:
    print(submit(os.getpid).result(), flush=True)
    submit(time.sleep, 600)
    submit(time.sleep, 600)
    time.sleep(600)
"""


def test_inputs_and_results_keep_their_provenance():
    error = ErrorWithProvenance(3.5, {"run": 1.0}, 2.0)
    with workers.open_workers(2, (error,)) as submit:
        assert submit(os.path.join, "a").exception(60) is not None  # float is no path, said as such
        total = submit(operator.mul, 2.0).result(60)
    assert isinstance(total, ErrorWithProvenance)
    assert (total, total.parts, total.constant) == (7.0, {"run": 2.0}, 4.0)


def test_what_a_killed_worker_was_to_do_is_done_by_this_process():
    with workers.open_workers(2, (signal.SIGKILL,)) as submit:
        killed = submit(signal.raise_signal)
        assert workers.get_result(killed, operator.add, 1, 2) == 3
        assert submit(operator.add, 1).result(60) == 1 + signal.SIGKILL


def test_what_a_stopped_worker_was_to_do_is_done_by_this_process(monkeypatch, capfd):
    monkeypatch.setattr(workers, "STOPPED_SECONDS", 0.2)
    with workers.open_workers(2, (signal.SIGSTOP,)) as submit:
        stopped = submit(signal.raise_signal)
        with pytest.raises(BrokenProcessPool):  # by now, not never
            stopped.result(60)
        assert workers.get_result(stopped, operator.add, 1, 2) == 3
        assert submit(operator.add, 1).result(60) == 1 + signal.SIGSTOP
    assert "which draws figures, was stopped, so it is killed" in capfd.readouterr().err


def test_the_end_does_not_wait_for_a_stopped_worker():
    with workers.open_workers(2, ()) as submit:
        pid = submit(os.getpid).result(60)
        submit(time.sleep, 600)
        submit(time.sleep, 600)
        submit(time.sleep, 600)
        os.kill(pid, signal.SIGSTOP)
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
    assert not psutil.pid_exists(pid)


def test_a_killed_or_stopped_server_leaves_the_work_to_this_process(monkeypatch):
    monkeypatch.setattr(workers, "STOPPED_SECONDS", 0.2)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        with workers.open_workers(2, (5,)) as submit:
            forkserver.ensure_running()
            os.kill(forkserver._forkserver._forkserver_pid, number)  # pyright: ignore
            assert submit(operator.add, 1).result(60) == 6


def test_workers_end_with_a_process_that_is_killed():
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    worker = Path("/proc", process.stdout.readline().strip())
    assert worker.exists()
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 60
    while worker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to kill them")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_stopped_workers_and_their_server_end_with_the_process(ending):
    """At once: nothing has looked yet for processes that are stopped."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY.replace("with", "workers.start_server()\nwith", 1)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    stopped = [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
    assert len(stopped) >= 2  # the server, and its workers
    for child in stopped:
        child.suspend()
    process.send_signal(ending)
    process.wait(60)
    assert not psutil.wait_procs(children, timeout=60)[1]


def test_threads_are_limited_only_inside(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with workers.single_threaded():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ
