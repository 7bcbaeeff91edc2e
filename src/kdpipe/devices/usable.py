"""Whether torch can compute on the GPUs that nvidia-smi lists: an old driver is enough that not.

Torch is asked in a process of its own, and only where a GPU is listed: whoever plans stays free of
it, and no GPU is held by having been asked.
"""

import functools
import json
import os
import subprocess
import sys

from kdpipe.devices import listed

PATIENCE = 300  # seconds, for an import on a busy file system
# The oldest driver for a torch of each CUDA (minor version compatibility, as NVIDIA states it).
DRIVERS = {"11": "450", "12": "525", "13": "580"}
# A sum on each GPU: what a torch has no kernels for is found out by using it.
_QUESTION = """
import json, torch
error = None
try:
    for number in range(max(1, torch.cuda.device_count())):
        float(torch.ones(8, device=f"cuda:{number}").sum())
except Exception as wrong:
    error = (str(wrong).strip() or repr(wrong)).splitlines()[0]
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "error": error}))
"""


def refused() -> str | None:
    """Why torch cannot use the GPUs here, and what it wants; None where it can, or there are none.

    A GPU that others fill is one that can be used.
    """
    if not listed.gpus():
        return None
    return _refused(os.environ.get("CUDA_VISIBLE_DEVICES"))


@functools.cache
def _refused(_: str | None) -> str | None:
    said = _asked()
    error = said["error"]
    if error is None or "out of memory" in error:
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


def _asked() -> dict:
    """What torch said, or an `error` alone."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _QUESTION],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": f"nothing within {PATIENCE} seconds"}
    except (OSError, ValueError, IndexError):
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return {"error": last[0]}
