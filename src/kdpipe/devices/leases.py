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
def acquire_gpus(device: str, runs_per_gpu: int, count: int = 1) -> Iterator[list[str]]:
    """Hold GPUs for a run on GPUs, and show this process no other ones.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Device of the run; on the CPU nothing is held.
    runs_per_gpu : int
        Runs that share a GPU.
    count : int
        The GPUs of the run.

    Yields
    ------
    list of str
        UUIDs of the GPUs.
    """
    if device != "cuda":
        yield []
        return
    with lease_gpus(runs_per_gpu, count) as held:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # nvidia-smi's
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
        print(f"GPU {', '.join(held)}", flush=True)
        yield held


@contextlib.contextmanager
def lease_gpus(runs_per_gpu: int = 1, count: int = 1) -> Iterator[list[str]]:
    """Hold a share of each of some GPUs, after waiting for them; those that others use come last.

    All are taken or none: two runs that each hold one and wait for another would wait forever.

    Parameters
    ----------
    runs_per_gpu : int
        Most runs of this host that have a GPU at a time.
    count : int
        The number of GPUs.

    Yields
    ------
    list of str
        UUIDs of the GPUs.

    Raises
    ------
    KdpipeError
        If there are not as many GPUs.
    """
    ids = gpus.list_gpus()
    if not ids:
        raise KdpipeError("device: cuda, but no GPU can be seen here: write device: cpu")
    if len(ids) < count:
        raise KdpipeError(
            f"processes_per_run: the run has {count} processes, each on a GPU of its own, but only "
            f"{len(ids)} can be seen here: set processes_per_run: {len(ids)} (this renames "
            "no run)"
        )
    is_waiting = False
    while True:
        with contextlib.ExitStack() as leases:
            held = _bind_gpus(ids, runs_per_gpu, count, leases)
            if len(held) == count:
                yield held
                return
        if not is_waiting:
            missing = "one" if count == 1 else str(count)
            print(f"all GPUs are in use ({', '.join(ids)}); waiting for {missing}", flush=True)
            is_waiting = True
        time.sleep(POLL_SECONDS)


def _bind_gpus(
    ids: list[str], runs_per_gpu: int, count: int, leases: contextlib.ExitStack
) -> list[str]:
    """Return up to `count` different GPUs whose shares are now held by `leases`."""
    held: list[str] = []
    for share in range(runs_per_gpu):  # every GPU once before one gets a second run
        for gpu in _sort_by_usage(ids) if not share else ids:
            if len(held) < count and gpu not in held:
                lease_socket = _bind_share(gpu, share)
                if lease_socket is not None:
                    leases.enter_context(lease_socket)
                    held.append(gpu)
    return held


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
