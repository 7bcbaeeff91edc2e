"""Who decides where runs are trained: on the CPU, or each on a GPU.

The head process decides once for a whole study (`decide`) and tells its jobs; a run never chooses
for itself, or one table could mix both. The device is no part of a run's name: it asks the same
question on either, and its record says where it was answered.
"""

import os
import sys

from kdpipe.devices import usable
from kdpipe.devices.listed import gpus
from kdpipe.errors import KdpipeError

DECIDED = "KDPIPE_DEVICE"  # in the environment of a study's jobs: cpu or cuda


def decide(wish: str, remote: bool, begun: str | None) -> str:
    """cpu or cuda, for every run of a study; `wish` is auto, cpu or cuda.

    `remote`: the jobs run on other machines, whose GPUs cannot be seen from here; auto is then
    the CPU. `begun` is the device of a finished run of the study, which auto goes on with.
    Raises KdpipeError where cuda is wanted and there is none, or none that torch can use.
    """
    if wish == "cpu" or (wish == "cuda" and remote):
        return wish
    listed = not remote and bool(gpus())
    asked = listed and not (wish == "auto" and begun == "cpu")
    wrong = usable.refused() if asked else None
    here = listed and wrong is None
    if asked and here:
        usable.leave_out()
    if wish == "cuda":
        if wrong:
            raise KdpipeError(f"device: cuda, but torch cannot use the GPUs here: {wrong}")
        if not here:
            raise KdpipeError(
                "device: cuda, but no GPU can be seen here (CUDA_VISIBLE_DEVICES, nvidia-smi): "
                "write device: cpu or device: auto"
            )
        return "cuda"
    if begun == "cuda" and not here and not remote:
        why = f"torch cannot use those here ({wrong})" if wrong else "none can be seen here"
        raise KdpipeError(
            f"device: auto, and the finished runs of this study were trained on a GPU, but {why}: "
            "write device: cpu to go on with both, or go on where there is one"
        )
    device = begun or ("cuda" if here else "cpu")
    if begun == "cpu" and here:
        reason = "as its finished runs were, although there are GPUs here"
    elif remote and device == "cpu":
        reason = "for GPUs of a cluster write device: cuda"
    elif wrong:
        reason = f"there are GPUs here, but {wrong}"
    else:
        reason = f"{len(gpus())} GPUs here" if device == "cuda" and here else "no GPU can be seen"
    print(f"kdpipe: device: auto is {device} for this study ({reason})", file=sys.stderr)
    return device


def here(wish: str) -> str:
    """cpu or cuda: on which of them a study would begin on this machine."""
    if wish == "cpu" or not gpus() or usable.refused() is not None:
        return "cpu" if wish == "auto" else wish
    usable.leave_out()
    return "cuda"


def of_job(wish: str) -> str:
    """The device in a job: what the head process decided. Raises KdpipeError if it is unknown."""
    device = os.environ.get(DECIDED) or wish
    if device == "auto":
        raise KdpipeError(
            f"device: auto was decided where the study was started, but {DECIDED} did not reach "
            "this job: write device: cpu or device: cuda"
        )
    return device
