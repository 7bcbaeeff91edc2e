"""Leases of GPUs: Snakemake counts GPUs but does not say which is whose, so a run leases one.

A lease is the name of a socket in the host's kernel. It needs no file, is free again when its
process ends in whatever way, and holds between users. Torch is not imported here, since a run needs
its lease before torch is.
"""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator

from kdpipe.devices import gpus
from kdpipe.errors import KdpipeError

POLL_SECONDS = 0.5  # between two searches for a free GPU
MAX_FREE_USAGE = 0.5  # share of its memory above which a GPU is taken to be in use by others


@contextlib.contextmanager
def acquire_gpu(device: str, runs_per_gpu: int) -> Iterator[str | None]:
    """Hold a GPU for a run on a GPU, and show this process no other one.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Device of the run; on the CPU nothing is held.
    runs_per_gpu : int
        Runs that share a GPU.

    Yields
    ------
    str or None
        UUID of the GPU.
    """
    if device != "cuda":
        yield None
        return
    with lease_gpu(runs_per_gpu) as gpu:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # nvidia-smi's
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        print(f"GPU {gpu}", flush=True)
        yield gpu


@contextlib.contextmanager
def lease_gpu(runs_per_gpu: int = 1) -> Iterator[str]:
    """Hold a share of a GPU, after waiting for one; GPUs that others use are taken last.

    Parameters
    ----------
    runs_per_gpu : int
        Most runs of this host that have a GPU at a time.

    Yields
    ------
    str
        UUID of the GPU.

    Raises
    ------
    KdpipeError
        If there is no GPU.
    """
    ids = gpus.list_gpus()
    if not ids:
        raise KdpipeError("device: cuda, but no GPU can be seen here: write device: cpu")
    is_waiting = False
    while True:
        for share in range(runs_per_gpu):  # every GPU once before one gets a second run
            for gpu in _sort_by_usage(ids) if not share else ids:
                if (lease_socket := _bind_share(gpu, share)) is not None:
                    with lease_socket:
                        yield gpu
                    return
        if not is_waiting:
            print(f"all GPUs are in use ({', '.join(ids)}); waiting for one", flush=True)
            is_waiting = True
        time.sleep(POLL_SECONDS)


def is_free(gpu: str) -> bool:
    """Return whether no run of this host has a GPU at the moment."""
    lease_socket = _bind_share(gpu, 0)
    if lease_socket is not None:
        lease_socket.close()
    return lease_socket is not None


def _sort_by_usage(ids: list[str]) -> list[str]:
    """Return GPUs in the order in which to try them: last those whose memory others use."""
    if len(ids) == 1:
        return ids
    usage = gpus.query_memory_usage()
    return sorted(ids, key=lambda gpu: usage.get(gpu, 0.0) > MAX_FREE_USAGE)


def _bind_share(gpu: str, share: int) -> socket.socket | None:
    """Return the lease of a share, or None while another process has it.

    SLURM gives each job GPUs of its own, which may have the same numbers in two jobs: there a lease
    holds within the job.
    """
    scope = os.environ.get("SLURM_JOB_ID", "")
    lease_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lease_socket.bind(f"\0kdpipe gpu {scope} {gpu} {share}")
    except OSError as error:
        lease_socket.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return lease_socket
