"""Devices: who decides, and GPUs that are leased by processes which may be killed.

The GPUs are pretended: ids in CUDA_VISIBLE_DEVICES that no driver knows of.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
import tiny

from kdpipe.errors import KdpipeError
from kdpipe.training import devices
from kdpipe.workflow.dag import Dag
from kdpipe.workflow.load import load as load_dag

HOLD = """
import sys, time
from kdpipe.training import devices
with devices.held("cuda", int(sys.argv[1])) as gpu:
    assert "torch" not in sys.modules
    print("holds", gpu, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def gpus(monkeypatch, request):
    """Two GPUs that no other test has: their leases hold for the whole machine."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    ids = [f"{request.node.name}-{os.getpid()}-{index}" for index in range(2)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(ids))
    return ids


@pytest.fixture
def start():
    """Start a process that takes a lease and keeps it."""
    started = []

    def start(runs_per_gpu: int = 1) -> subprocess.Popen:
        command = [sys.executable, "-u", "-c", HOLD, str(runs_per_gpu)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def said(process: subprocess.Popen, word: str) -> str:
    """The next line of a process that begins with this word."""
    for line in process.stdout:
        if line.startswith(word):
            return line.split()[-1]
    raise AssertionError(f"never said {word}")


def test_each_run_has_a_gpu_of_its_own_and_one_too_many_waits(gpus, start):
    first, second = start(), start()
    assert sorted([said(first, "holds"), said(second, "holds")]) == gpus
    third = start()
    said(third, "all GPUs are taken")
    time.sleep(3 * devices.POLL)
    assert third.poll() is None


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_lease_of_a_killed_run_is_free(gpus, start, end):
    held = {said(process, "holds"): process for process in (start(), start())}
    third = start()
    said(third, "all GPUs are taken")
    held[gpus[1]].send_signal(end)
    assert said(third, "holds") == gpus[1]


def test_a_stopped_run_keeps_its_lease(gpus, start):
    """Nothing is taken over by age."""
    held = [start(), start()]
    for process in held:
        said(process, "holds")
        process.send_signal(signal.SIGSTOP)
    third = start()
    said(third, "all GPUs are taken")
    time.sleep(3 * devices.POLL)
    with pytest.raises(BlockingIOError):
        os.set_blocking(third.stdout.fileno(), False)
        os.read(third.stdout.fileno(), 1)


def test_runs_share_gpus_evenly(gpus, start):
    seen = [said(start(2), "holds") for _ in range(4)]
    assert sorted(seen[:2]) == gpus  # each once, before one is shared
    assert sorted(seen) == sorted(gpus * 2)
    said(start(2), "all GPUs are taken")


def test_jobs_of_slurm_do_not_wait_for_each_others_numbers(gpus, monkeypatch):
    """Where SLURM shows every job its GPUs as 0, 1, ... equal numbers are different GPUs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus[0])
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with devices.lease() as one:
        monkeypatch.setenv("SLURM_JOB_ID", "18")
        with devices.lease() as other:
            assert one == other == gpus[0]


def test_a_gpu_has_one_name_by_index_and_by_uuid(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf 'GPU-aa\\nGPU-bb\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.gpus() == ["GPU-aa", "GPU-bb"]
    for text, expected in {
        "1": ["GPU-bb"],
        "GPU-bb, 0": ["GPU-bb", "GPU-aa"],
        "0,-1,1": ["GPU-aa"],
        "": [],
        "-1": [],
    }.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
        assert devices.gpus() == expected, text


@pytest.mark.parametrize(
    ("wish", "here", "remote", "begun", "expected"),
    [
        ("auto", True, False, None, "cuda"),
        ("auto", False, False, None, "cpu"),
        ("auto", True, True, None, "cpu"),  # the GPUs here are not those of the cluster
        ("auto", True, False, "cpu", "cpu"),  # as it was begun
        ("auto", False, True, "cuda", "cuda"),
        ("cpu", True, False, "cuda", "cpu"),
        ("cuda", True, False, "cpu", "cuda"),
        ("cuda", False, True, None, "cuda"),  # the jobs will see
    ],
)
def test_who_decides(monkeypatch, capsys, wish, here, remote, begun, expected):
    monkeypatch.setattr(devices, "gpus", lambda: ["0"] if here else [])
    assert devices.decide(wish, remote, begun) == expected
    assert (f"auto is {expected}" in capsys.readouterr().err) == (wish == "auto")


@pytest.mark.parametrize(("wish", "begun"), [("cuda", None), ("auto", "cuda")])
def test_no_gpu_where_one_is_needed_is_an_error(monkeypatch, wish, begun):
    monkeypatch.setattr(devices, "gpus", lambda: [])
    with pytest.raises(KdpipeError, match="write device: cpu"):
        devices.decide(wish, False, begun)


def test_cuda_that_torch_cannot_use_is_an_error(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(KdpipeError, match="finds no GPU"):
        devices.torch_device("cuda")


def test_a_job_does_what_the_head_decided(monkeypatch, tmp_path, gpus):
    """The node of a job may have other GPUs than the machine that decided."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(devices.DECIDED, "nothing yet")
    study = tiny.study()

    def load(head: bool) -> Dag:
        return load_dag(study, [], default=tmp_path, head=head)

    assert load(head=True).device == "cuda"
    assert load(head=True).runs_on_gpus == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert load(head=False).device == "cuda"
    assert load(head=True).device == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert load(head=False).device == "cpu"


def test_a_job_that_cannot_know_says_so(monkeypatch):
    monkeypatch.delenv(devices.DECIDED, raising=False)
    assert devices.of_job("cpu") == "cpu"
    with pytest.raises(KdpipeError, match=devices.DECIDED):
        devices.of_job("auto")


def test_the_device_is_in_no_name():
    names = [
        list(tiny.planned(device=device, runs_per_gpu=share).runs)
        for device, share in [("auto", 1), ("cpu", 1), ("cuda", 4)]
    ]
    assert names[0] == names[1] == names[2]
