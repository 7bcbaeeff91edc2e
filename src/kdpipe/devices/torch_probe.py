"""Whether torch can compute on the GPUs that nvidia-smi lists; with an old driver it cannot.

Torch is tried in a process of its own, and only where a GPU is listed: so a process that plans does
not import it, and no GPU stays in use. Each GPU is tried by itself: one that is too old for this
torch, or that CUDA does not show, does not keep runs from the others.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from kdpipe.devices import nvidia_smi
from kdpipe.text import escape_lines

PROBE_TIMEOUT = 300  # seconds; an import on a busy file system takes long
# The oldest driver for each major version of CUDA (NVIDIA's minor version compatibility).
MIN_DRIVERS = {"11": "450", "12": "525", "13": "580"}
# A sum on each GPU shows whether torch has kernels for it.
_PROBE_SOURCE = """
import json, sys, torch
errors = []
for number in range(int(sys.argv[1])):
    error = None
    try:
        float(torch.ones(8, device=f"cuda:{number}").sum())
    except Exception as failure:
        error = (str(failure).strip() or repr(failure)).splitlines()[0]
    errors.append(error)
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "errors": errors}))
"""
# Errors of a GPU that others use just now: it is usable.
_BUSY_ERRORS = ("out of memory", "busy or unavailable")
# Errors of GPUs behind one that CUDA does not show: it shows none of them either.
_HIDDEN_ERRORS = ("invalid device ordinal", "No CUDA GPUs are available", "no CUDA-capable device")
_reason_cache: dict[str, str | None] = {}  # why a GPU is unusable, by UUID, as far as tried


def find_unusable_reason() -> str | None:
    """Return why torch can use none of the GPUs here, and what it needs.

    Returns
    -------
    str or None
        The reason; None if torch can use one, maybe after other processes, or if there is none.
    """
    reasons = _find_reasons(nvidia_smi.list_gpus())
    return None if not reasons or None in reasons.values() else next(iter(reasons.values()))


def hide_unusable_gpus() -> None:
    """Hide from this process and its jobs the GPUs that torch cannot use, and print which.

    Nothing is changed where torch can use none of them, or all.
    """
    reasons = _find_reasons(nvidia_smi.list_gpus())
    usable = [gpu for gpu, reason in reasons.items() if reason is None]
    if not usable or len(usable) == len(reasons):
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(usable)
    for gpu, reason in reasons.items():
        if reason is not None:
            print(f"kdpipe: GPU {gpu} is left out: {escape_lines(reason)}", file=sys.stderr)


def _find_reasons(gpus: list[str]) -> Mapping[str, str | None]:
    """Return by GPU why torch cannot use it; None if it can."""
    unknown = [gpu for gpu in gpus if gpu not in _reason_cache]
    instances = [gpu for gpu in unknown if gpu.startswith("MIG-")]
    whole_gpus = [gpu for gpu in unknown if gpu not in instances]
    if whole_gpus:
        _reason_cache.update(_probe_gpus(whole_gpus))
    if instances:  # CUDA shows a process one of them: the first stands for all
        (reason,) = _probe_gpus(instances[:1]).values()
        _reason_cache.update(dict.fromkeys(instances, reason))
    return {gpu: _reason_cache[gpu] for gpu in gpus}


def _probe_gpus(gpus: list[str]) -> dict[str, str | None]:
    """Return by GPU why torch cannot use it, tried in one process or in one for each."""
    report, reasons = _run_probe(gpus), {}
    for gpu, error in zip(gpus, report["errors"], strict=True):
        if len(gpus) > 1 and error is not None and any(words in error for words in _HIDDEN_ERRORS):
            (error,) = _run_probe([gpu])["errors"]
        reasons[gpu] = _explain_probe_error(report, error)
    return reasons


def _explain_probe_error(report: Mapping, error: str | None) -> str | None:
    """Return what an error of one GPU means, and what torch needs."""
    if error is None or any(words in error for words in _BUSY_ERRORS):
        return None
    if report.get("cuda") is None and report.get("torch"):
        return f"torch {report['torch']} is one without CUDA: install one with it"
    driver = nvidia_smi.query_driver_version() or "unknown"
    min_driver = MIN_DRIVERS.get(_major_version(str(report.get("cuda"))))
    if (
        min_driver
        and _major_version(driver).isdigit()
        and int(_major_version(driver)) < int(min_driver)
    ):
        return (
            f"torch {report['torch']} is for CUDA {report['cuda']} and wants driver {min_driver} "
            f"or newer, and this is driver {driver}: renew it, or install a torch for an older CUDA"
        )
    return f"torch {report.get('torch', '')} with driver {driver} says: {error}"


def _major_version(version: str) -> str:
    """Return the major number of a version."""
    return version.partition(".")[0]


def _run_probe(gpus: list[str]) -> dict:
    """Return what torch reports of these GPUs: its versions, and for each an error or None."""
    environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE_SOURCE, str(len(gpus))],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT,
            check=False,
        )
        return json.loads(process.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        error = f"nothing within {PROBE_TIMEOUT} seconds"
    except (OSError, ValueError, IndexError):
        last = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        error = last[0]
    return {"errors": [error] * len(gpus)}
