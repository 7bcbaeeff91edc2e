"""Selecting the device of a study: the CPU, or a GPU for each run.

The head process selects it once for a whole study and passes it to the jobs; a run never selects
for itself, or one table could mix both. The device is no part of a run's name: the question of a
run is the same on either, and its record says on which it was answered.
"""

import os
import sys

from kdpipe.devices import torch_probe
from kdpipe.devices.nvidia_smi import list_gpus
from kdpipe.errors import KdpipeError

DEVICE_VARIABLE = "KDPIPE_DEVICE"  # environment of a study's jobs: cpu or cuda


def select_device(requested: str, is_remote: bool, previous_device: str | None) -> str:
    """Select the device of all runs of a study; print what `auto` means.

    Parameters
    ----------
    requested : {"auto", "cpu", "cuda"}
        The `device` of the study.
    is_remote : bool
        Whether jobs run on other machines, whose GPUs cannot be seen from here: `auto` is then the
        CPU.
    previous_device : {"cpu", "cuda"} or None
        Device of a finished run of the study, with which `auto` goes on.

    Returns
    -------
    {"cpu", "cuda"}
        The device.

    Raises
    ------
    KdpipeError
        If it is cuda, and there is no GPU or none that torch can use.
    """
    if requested == "cpu" or (requested == "cuda" and is_remote):
        return requested
    has_gpus = not is_remote and bool(list_gpus())
    is_probed = has_gpus and not (requested == "auto" and previous_device == "cpu")
    problem = torch_probe.find_unusable_reason() if is_probed else None
    is_usable = has_gpus and problem is None
    if is_probed and is_usable:
        torch_probe.hide_unusable_gpus()
    if requested == "cuda":
        if problem:
            raise KdpipeError(f"device: cuda, but torch cannot use the GPUs here: {problem}")
        if not is_usable:
            raise KdpipeError(
                "device: cuda, but no GPU can be seen here (CUDA_VISIBLE_DEVICES, nvidia-smi): "
                "write device: cpu or device: auto"
            )
        return "cuda"
    if previous_device == "cuda" and not is_usable and not is_remote:
        detail = f"torch cannot use those here ({problem})" if problem else "none can be seen here"
        raise KdpipeError(
            "device: auto, and the finished runs of this study were trained on a GPU, but "
            f"{detail}: write device: cpu to go on with both, or go on where there is one"
        )
    device = previous_device or ("cuda" if is_usable else "cpu")
    if previous_device == "cpu" and is_usable:
        reason = "as its finished runs were, although there are GPUs here"
    elif is_remote and device == "cpu":
        reason = "for GPUs of a cluster write device: cuda"
    elif problem:
        reason = f"there are GPUs here, but {problem}"
    else:
        reason = (
            f"{len(list_gpus())} GPUs here"
            if device == "cuda" and is_usable
            else "no GPU can be seen"
        )
    print(f"kdpipe: device: auto is {device} for this study ({reason})", file=sys.stderr)
    return device


def select_local_device(requested: str) -> str:
    """Return the device with which a study would begin on this machine."""
    if requested == "cpu" or not list_gpus() or torch_probe.find_unusable_reason() is not None:
        return "cpu" if requested == "auto" else requested
    torch_probe.hide_unusable_gpus()
    return "cuda"


def get_job_device(requested: str) -> str:
    """Return the device that the head process selected; raise KdpipeError if it is unknown."""
    device = os.environ.get(DEVICE_VARIABLE) or requested
    if device == "auto":
        raise KdpipeError(
            f"device: auto was decided where the study was started, but {DEVICE_VARIABLE} did not "
            "reach this job: write device: cpu or device: cuda"
        )
    return device
