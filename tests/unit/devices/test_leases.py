"""Leases of GPUs by processes which may be killed.

The GPUs are pretended: ids in CUDA_VISIBLE_DEVICES that no driver knows of.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import fake_nvidia_smi

from kdpipe.devices import leases
from kdpipe.errors import KdpipeError

HOLD = """
import sys, time
from kdpipe.devices import leases
with leases.acquire_gpus("cuda", *map(int, sys.argv[1:])) as held:
    assert "torch" not in sys.modules
    print("holds", ",".join(held), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def gpus(monkeypatch, request):
    """Two GPUs that no other test has: their leases hold for the whole machine."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    ids = [f"GPU-{request.node.name}-{os.getpid()}-{index}" for index in range(2)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(ids))
    return ids


@pytest.fixture
def start():
    """Start a process that takes a lease and keeps it."""
    started = []

    def start(runs_per_gpu: int = 1, count: int = 1) -> subprocess.Popen:
        command = [sys.executable, "-u", "-c", HOLD, str(runs_per_gpu), str(count)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def get_message(process: subprocess.Popen, word: str) -> str:
    """The next line of a process that begins with this word."""
    for line in process.stdout:
        if line.startswith(word):
            return line.split()[-1]
    raise AssertionError(f"never said {word}")


def test_each_run_has_a_gpu_of_its_own_and_one_too_many_waits(gpus, start):
    first, second = start(), start()
    assert sorted([get_message(first, "holds"), get_message(second, "holds")]) == gpus
    third = start()
    get_message(third, "all GPUs are in use")
    time.sleep(3 * leases.POLL_SECONDS)
    assert third.poll() is None


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_lease_of_a_killed_run_is_free(gpus, start, end):
    held = {get_message(process, "holds"): process for process in (start(), start())}
    third = start()
    get_message(third, "all GPUs are in use")
    held[gpus[1]].send_signal(end)
    assert get_message(third, "holds") == gpus[1]


def test_a_stopped_run_keeps_its_lease(gpus, start):
    """Nothing is taken over by age."""
    held = [start(), start()]
    for process in held:
        get_message(process, "holds")
        process.send_signal(signal.SIGSTOP)
    third = start()
    get_message(third, "all GPUs are in use")
    time.sleep(3 * leases.POLL_SECONDS)
    with pytest.raises(BlockingIOError):
        os.set_blocking(third.stdout.fileno(), False)
        os.read(third.stdout.fileno(), 1)


def test_runs_share_gpus_evenly(gpus, start):
    seen = [get_message(start(2), "holds") for _ in range(4)]
    assert sorted(seen[:2]) == gpus  # each once, before one is shared
    assert sorted(seen) == sorted(gpus * 2)
    get_message(start(2), "all GPUs are in use")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_lease_holds_between_users(gpus):
    """Each takes a GPU of its own; the second user's lease is one for the first, too."""

    def nobody(message, may_end) -> None:
        os.setgid(65534)
        os.setuid(65534)
        with leases.lease_gpus() as (gpu,):
            message.send(gpu)
            may_end.wait(60)

    apart = multiprocessing.get_context("fork")
    hear, message = apart.Pipe(duplex=False)
    may_end = apart.Event()
    with leases.lease_gpus() as (mine,):
        other = apart.Process(target=nobody, args=(message, may_end))
        other.start()
        reference = hear.recv() if hear.poll(60) else None
        assert {mine, reference} == set(gpus)
        assert reference is not None and not leases.is_free(reference)
        may_end.set()
        other.join(60)
        assert other.exitcode == 0 and leases.is_free(reference)


def test_jobs_of_slurm_do_not_wait_for_each_others_numbers(gpus, monkeypatch):
    """Where SLURM shows every job its GPUs as 0, 1, ... equal numbers are different GPUs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus[0])
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with leases.lease_gpus() as (one,):
        monkeypatch.setenv("SLURM_JOB_ID", "18")
        with leases.lease_gpus() as (other,):
            assert one == other == gpus[0]


def test_a_gpu_that_others_fill_is_taken_last(monkeypatch, tmp_path, request):
    """Whose leases these are does not matter: another user's process is no lease."""
    names = [f"GPU-{request.node.name}-{os.getpid()}-{number}" for number in range(2)]
    lines = "".join(f"GPU {number}: X (UUID: {name})\n" for number, name in enumerate(names))
    memory = f"{names[0]}, 30000, 40000\n{names[1]}, 10, 40000\n"
    fake_nvidia_smi.nvidia_smi(monkeypatch, tmp_path, lines, memory)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with leases.lease_gpus() as (first,), leases.lease_gpus() as (second,):
        assert [first, second] == names[::-1]


def test_a_run_whose_gpu_fails_gives_it_back(gpus):
    with pytest.raises(RuntimeError), leases.acquire_gpus("cuda", 1) as (gpu,):
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
    with leases._bind_share(gpu, 0) as free:
        assert free is not None


def test_gpus_of_a_run_are_leased_all_or_none(gpus, start):
    """One is held by another run: the free one is not kept while the second is waited for."""
    holder = start()
    held = get_message(holder, "holds")
    (free,) = set(gpus) - {held}
    waiting = start(1, 2)
    get_message(waiting, "all GPUs are in use")
    other = start()
    assert get_message(other, "holds") == free
    holder.kill()
    other.kill()
    assert sorted(get_message(waiting, "holds").split(",")) == sorted(gpus)


def test_a_run_of_more_processes_than_gpus_is_refused(gpus):
    message = r"3 processes.* only 2 .*processes_per_run: 2"
    with pytest.raises(KdpipeError, match=message), leases.lease_gpus(1, 3):
        pass


def test_a_run_shares_no_gpu_with_itself(gpus):
    with leases.lease_gpus(2, 2) as held, leases.lease_gpus(2, 2) as others:
        assert sorted(held) == sorted(others) == sorted(gpus)
