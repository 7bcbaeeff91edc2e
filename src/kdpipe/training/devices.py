"""Where runs are trained: on the CPU, or each on a GPU, or a share of one, that it leases.

The head process decides once for a whole study (`decide`) and tells its jobs; a run never chooses
for itself, or one table could mix both. The device is no part of a run's name: it asks the same
question on either, and its record says where it was answered.

Snakemake counts GPUs but hands out none, so a run leases its own (`lease`): the lease is a socket
name of the host's kernel. It lies on no disk, is freed when its process ends in whatever way, and
holds between users. Torch is not imported here, since a lease has to be taken before it is.
"""

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from kdpipe.errors import KdpipeError

DECIDED = "KDPIPE_DEVICE"  # in the environment of a study's jobs: cpu or cuda
POLL = 0.5  # seconds between two looks for a free GPU


def decide(wish: str, remote: bool, begun: str | None) -> str:
    """cpu or cuda, for every run of a study; `wish` is auto, cpu or cuda.

    `remote`: the jobs run on other machines, whose GPUs cannot be seen from here; auto is then
    the CPU. `begun` is the device of a finished run of the study, which auto goes on with.
    Raises KdpipeError where cuda is wanted and there is none.
    """
    if wish == "cpu" or (wish == "cuda" and remote):
        return wish
    here = not remote and bool(gpus())
    if wish == "cuda":
        if not here:
            raise KdpipeError(
                "device: cuda, but no GPU can be seen here (CUDA_VISIBLE_DEVICES, nvidia-smi): "
                "write device: cpu or device: auto"
            )
        return "cuda"
    if begun == "cuda" and not here and not remote:
        raise KdpipeError(
            "device: auto, and the finished runs of this study were trained on a GPU, but none "
            "can be seen here: write device: cpu to go on with both, or go on where there is one"
        )
    device = begun or ("cuda" if here else "cpu")
    if begun == "cpu" and here:
        reason = "as its finished runs were, although there are GPUs here"
    elif remote and device == "cpu":
        reason = "for GPUs of a cluster write device: cuda"
    else:
        reason = f"{len(gpus())} GPUs here" if device == "cuda" and here else "no GPU can be seen"
    print(f"kdpipe: device: auto is {device} for this study ({reason})", file=sys.stderr)
    return device


def of_job(wish: str) -> str:
    """The device in a job: what the head process decided. Raises KdpipeError if it is unknown."""
    device = os.environ.get(DECIDED) or wish
    if device == "auto":
        raise KdpipeError(
            f"device: auto was decided where the study was started, but {DECIDED} did not reach "
            "this job: write device: cpu or device: cuda"
        )
    return device


def gpus() -> list[str]:
    """The GPUs that this process may use: their UUIDs where nvidia-smi knows them.

    One GPU has one name, whether it was asked for by index, by UUID, or not at all.
    """
    known = _listed()
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return known
    found = []
    for word in filter(None, (word.strip() for word in wanted.split(","))):
        if word == "-1":  # CUDA sees what stands before it
            break
        index = int(word) if word.isdigit() else len(known)
        found.append(known[index] if index < len(known) else word)
    return found


@contextlib.contextmanager
def held(device: str, runs_per_gpu: int) -> Iterator[str | None]:
    """Hold what a run on this device needs: a GPU, which it then sees alone, or nothing."""
    if device != "cuda":
        yield None
        return
    with lease(runs_per_gpu) as gpu:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # nvidia-smi's
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        print(f"GPU {gpu}", flush=True)
        yield gpu


@contextlib.contextmanager
def lease(runs_per_gpu: int = 1) -> Iterator[str]:
    """A GPU that at most `runs_per_gpu` runs of this host have at a time; waits for one.

    Raises KdpipeError where there is none.
    """
    ids = gpus()
    if not ids:
        raise KdpipeError("device: cuda, but no GPU can be seen here: write device: cpu")
    waits = False
    while True:
        for share in range(runs_per_gpu):  # every GPU once before one gets a second run
            for gpu in ids:
                if (taken := _take(gpu, share)) is not None:
                    with taken:
                        yield gpu
                    return
        if not waits:
            print(f"all GPUs are taken ({', '.join(ids)}); waiting for one", flush=True)
            waits = True
        time.sleep(POLL)


def torch_device(device: str):
    """The torch device of a run. Raises KdpipeError if torch cannot use it."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise KdpipeError(
            "device: cuda, but this torch finds no GPU it can use (torch.cuda.is_available()): "
            "write device: cpu, or install a torch for this driver"
        )
    return torch.device(device)


def _take(gpu: str, share: int) -> socket.socket | None:
    """The lease of a share, or None while another process has it.

    Inside SLURM the ids of two jobs may be the same numbers for different GPUs, and what a job
    was given is its own: there a lease holds within the job.
    """
    scope = os.environ.get("SLURM_JOB_ID", "")
    taken = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        taken.bind(f"\0kdpipe gpu {scope} {gpu} {share}")
    except OSError as error:
        taken.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return taken


def _listed() -> list[str]:
    """The UUIDs of this host's GPUs, in the order of the bus; none without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
