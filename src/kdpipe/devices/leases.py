"""Leases of GPUs: Snakemake counts GPUs but hands out none, so a run leases its own.

A lease is a socket name of the host's kernel. It lies on no disk, is freed when its process ends in
whatever way, and holds between users. Torch is not imported here, since a lease has to be taken
before it is.
"""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator

from kdpipe.devices import listed
from kdpipe.errors import KdpipeError

POLL = 0.5  # seconds between two looks for a free GPU
FULL = 0.5  # of its memory: from there on a GPU is somebody else's, and taken last


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

    One that others fill is taken after those that are free. Raises KdpipeError where there is none.
    """
    ids = listed.gpus()
    if not ids:
        raise KdpipeError("device: cuda, but no GPU can be seen here: write device: cpu")
    waits = False
    while True:
        for share in range(runs_per_gpu):  # every GPU once before one gets a second run
            for gpu in _emptiest(ids) if not share else ids:
                if (taken := _take(gpu, share)) is not None:
                    with taken:
                        yield gpu
                    return
        if not waits:
            print(f"all GPUs are taken ({', '.join(ids)}); waiting for one", flush=True)
            waits = True
        time.sleep(POLL)


def is_free(gpu: str) -> bool:
    """Whether no run of this host has a GPU at the moment."""
    taken = _take(gpu, 0)
    if taken is not None:
        taken.close()
    return taken is not None


def _emptiest(ids: list[str]) -> list[str]:
    """Those first that nobody fills; of one of ours, which is leased, it does not matter."""
    if len(ids) == 1:
        return ids
    filled = listed.filled()
    return sorted(ids, key=lambda gpu: filled.get(gpu, 0.0) > FULL)


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
