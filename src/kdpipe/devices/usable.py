"""Whether torch can compute on the GPUs that nvidia-smi lists: an old driver is enough that not.

Torch is asked in a process of its own, and only where a GPU is listed: whoever plans stays free of
it, and no GPU is held by having been asked. Each GPU is asked for itself: one that is too old for
this torch, or that CUDA does not show, keeps no run from the others.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from kdpipe.devices import listed
from kdpipe.wording import printable_lines

PATIENCE = 300  # seconds, for an import on a busy file system
# The oldest driver for a torch of each CUDA (minor version compatibility, as NVIDIA states it).
DRIVERS = {"11": "450", "12": "525", "13": "580"}
# A sum on each GPU: what a torch has no kernels for is found out by using it.
_QUESTION = """
import json, sys, torch
errors = []
for number in range(int(sys.argv[1])):
    error = None
    try:
        float(torch.ones(8, device=f"cuda:{number}").sum())
    except Exception as wrong:
        error = (str(wrong).strip() or repr(wrong)).splitlines()[0]
    errors.append(error)
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "errors": errors}))
"""
# Of a GPU that others use just now: it can be used.
_TAKEN = ("out of memory", "busy or unavailable")
# Of those that stand behind one which CUDA does not show: it shows none of them either.
_HIDDEN = ("invalid device ordinal", "No CUDA GPUs are available", "no CUDA-capable device")
_known: dict[str, str | None] = {}  # by GPU why not, as far as torch was asked


def refused() -> str | None:
    """Why torch can use none of the GPUs here, and what it wants; None where it can, or there are
    none. A GPU that others fill is one that can be used.
    """
    reasons = _reasons(listed.gpus())
    return None if not reasons or None in reasons.values() else next(iter(reasons.values()))


def leave_out() -> None:
    """Show this process and its jobs only those of the GPUs here that torch can use; say which
    are left out. Where it can use none of them, or all, nothing is changed.
    """
    reasons = _reasons(listed.gpus())
    good = [gpu for gpu, why in reasons.items() if why is None]
    if not good or len(good) == len(reasons):
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(good)
    for gpu, why in reasons.items():
        if why is not None:
            print(f"kdpipe: GPU {gpu} is left out: {printable_lines(why)}", file=sys.stderr)


def _reasons(gpus: list[str]) -> Mapping[str, str | None]:
    """By GPU why torch cannot use it; None if it can."""
    unknown = [gpu for gpu in gpus if gpu not in _known]
    instances = [gpu for gpu in unknown if gpu.startswith("MIG-")]
    whole = [gpu for gpu in unknown if gpu not in instances]
    if whole:
        _known.update(_answers(whole))
    if instances:  # CUDA shows a process one of them: the first speaks for all
        (why,) = _answers(instances[:1]).values()
        _known.update(dict.fromkeys(instances, why))
    return {gpu: _known[gpu] for gpu in gpus}


def _answers(gpus: list[str]) -> dict[str, str | None]:
    said, found = _asked(gpus), {}
    for gpu, error in zip(gpus, said["errors"], strict=True):
        if len(gpus) > 1 and error is not None and any(words in error for words in _HIDDEN):
            (error,) = _asked([gpu])["errors"]
        found[gpu] = _reason(said, error)
    return found


def _reason(said: Mapping, error: str | None) -> str | None:
    """What an error of one GPU means, and what torch wants."""
    if error is None or any(words in error for words in _TAKEN):
        return None
    if said.get("cuda") is None and said.get("torch"):
        return f"torch {said['torch']} is one without CUDA: install one with it"
    driver = listed.driver() or "unknown"
    wanted = DRIVERS.get(_major(str(said.get("cuda"))))
    if wanted and _major(driver).isdigit() and int(_major(driver)) < int(wanted):
        return (
            f"torch {said['torch']} is for CUDA {said['cuda']} and wants driver {wanted} or newer, "
            f"and this is driver {driver}: renew it, or install a torch for an older CUDA"
        )
    return f"torch {said.get('torch', '')} with driver {driver} says: {error}"


def _major(version: str) -> str:
    return version.partition(".")[0]


def _asked(gpus: list[str]) -> dict:
    """What torch said of each, by their names; or nothing but one error for all."""
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _QUESTION, str(len(gpus))],
            env=os.environ | order,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        error = f"nothing within {PATIENCE} seconds"
    except (OSError, ValueError, IndexError):
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        error = last[0]
    return {"errors": [error] * len(gpus)}
