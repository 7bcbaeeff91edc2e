"""The GPUs of this machine that this process may use, and the device that a study runs on.

A GPU has one name, its UUID, whether CUDA_VISIBLE_DEVICES has its index, its UUID, or the beginning
of that. A GPU that is divided into instances (MIG) is named by these: CUDA takes one of them for a
GPU.

Torch is tried in a process of its own, and only where nvidia-smi lists a GPU: so a process that
plans does not import it, and no GPU stays in use. Each GPU is tried by itself: one that is too old
for this torch, or that CUDA does not show, does not keep runs from the others.

The head process selects the device once for a whole study and passes it to the jobs; a run never
selects for itself, or one table could mix both. The device is no part of a run's name: the question
of a run is the same on either, and its record says on which it was answered.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping

from kdpipe.errors import KdpipeError
from kdpipe.text import escape_lines, format_value

_LINE_PATTERN = re.compile(r"^(?P<inside>[ \t]*)(?:GPU|MIG)\b.*\(UUID: (?P<name>[^)\s]+)\)", re.M)
_NAME_PATTERN = re.compile(r"\d+$|GPU-|MIG-")


def list_gpus() -> list[str]:
    """Return the GPUs that this process may use: their UUIDs where nvidia-smi knows them.

    CUDA_VISIBLE_DEVICES is read as CUDA reads it: a name that means no GPU, as -1 or SLURM's
    NoDevFiles, hides all that follow it.
    """
    devices, known = _list_devices()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return known
    gpus = []
    for word in filter(None, (word.strip() for word in visible.split(","))):
        if not known:  # without nvidia-smi only the form of a name can be checked
            matches = [word] if _NAME_PATTERN.match(word) else []
        elif word.isdigit():  # an index counts GPUs, and means the first instance of a divided one
            matches = devices[int(word)][:1] if int(word) < len(devices) else []
        else:
            matches = [name for name in known if name.startswith(word)]
        if len(matches) != 1:
            break
        gpus += matches
    return gpus


def query_driver_version() -> str | None:
    """Return the version of NVIDIA's driver; None without one."""
    output = _run_nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader")
    match = re.search(
        r"^\d+(\.\d+)+$", output, re.M
    )  # there may be a complaint about a GPU before it
    return match[0] if match else None


def query_memory_usage() -> Mapping[str, float]:
    """Return the share of memory in use of each GPU that reports it, by UUID."""
    usage = {}
    output = _run_nvidia_smi(
        "--query-gpu=uuid,memory.used,memory.total", "--format=csv,noheader,nounits"
    )
    for line in output.splitlines():
        name, _, rest = line.partition(",")
        used, _, total = rest.partition(",")
        try:
            usage[name.strip()] = float(used) / float(total)
        except (ValueError, ZeroDivisionError):  # "[N/A]": it shares the host's memory
            continue
    return usage


def _list_devices() -> tuple[list[list[str]], list[str]]:
    """Return for each GPU, in the order of the bus, its instances or itself; and a flat list.

    A GPU that has fallen off the bus has a line without a UUID.
    """
    devices: list[list[str]] = []
    is_whole: list[bool] = []
    for line in _LINE_PATTERN.finditer(_run_nvidia_smi("-L")):
        if not line["inside"]:
            devices.append([line["name"]])
            is_whole.append(True)
        elif devices:
            instances = [] if is_whole[-1] else devices[-1]
            devices[-1], is_whole[-1] = [*instances, line["name"]], False
    return devices, [name for names in devices for name in names]


def _run_nvidia_smi(*options: str) -> str:
    """Return the output of nvidia-smi, also of one that fails; empty without a driver."""
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        process = subprocess.run(
            ["nvidia-smi", *options],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return process.stdout


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
    reasons = _find_reasons(list_gpus())
    return None if not reasons or None in reasons.values() else next(iter(reasons.values()))


def hide_unusable_gpus() -> None:
    """Hide from this process and its jobs the GPUs that torch cannot use, and print which.

    Nothing is changed where torch can use none of them, or all.
    """
    reasons = _find_reasons(list_gpus())
    usable = [gpu for gpu, reason in reasons.items() if reason is None]
    if not usable or len(usable) == len(reasons):
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(usable)
    for gpu, reason in reasons.items():
        if reason is not None:
            print(f"kdpipe: GPU {gpu} is excluded: {escape_lines(reason)}", file=sys.stderr)


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
        return f"torch {report['torch']} is a build without CUDA: install one with CUDA"
    driver = query_driver_version() or "unknown"
    min_driver = MIN_DRIVERS.get(_major_version(str(report.get("cuda"))))
    if (
        min_driver
        and _major_version(driver).isdigit()
        and int(_major_version(driver)) < int(min_driver)
    ):
        return (
            f"torch {report['torch']} is built for CUDA {report['cuda']} and requires driver "
            f"{min_driver} or newer, but this is driver {driver}: update it, or install a torch "
            "for an older CUDA"
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
            encoding="utf-8",
            errors="replace",
            timeout=PROBE_TIMEOUT,
            check=False,
        )
        return json.loads(process.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        error = f"no response within {PROBE_TIMEOUT} seconds"
    except (OSError, ValueError, IndexError):
        last = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        error = last[0]
    return {"errors": [error] * len(gpus)}


DEVICE_VARIABLE = "KDPIPE_DEVICE"  # environment of a study's jobs: cpu or cuda


def select_device(requested: str, is_remote: bool, previous_device: str | None) -> str:
    """Select the device of all runs of a study; print what `auto` means, unless it is evident.

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
    problem = find_unusable_reason() if is_probed else None
    is_usable = has_gpus and problem is None
    if is_probed and is_usable:
        hide_unusable_gpus()
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
            f"{detail}: write device: cpu to continue on the CPU, or continue where there is a GPU"
        )
    device = previous_device or ("cuda" if is_usable else "cpu")
    if previous_device == "cpu" and is_usable:
        reason = "as its finished runs were, although there are GPUs here"
    elif is_remote and device == "cpu":
        reason = "for GPUs of a cluster write device: cuda"
    elif problem:
        reason = f"there are GPUs here, but {problem}"
    elif device == "cuda" and is_usable:
        reason = f"{len(list_gpus())} GPUs here"
    elif device == "cuda":
        reason = "as its finished runs were"
    else:
        return device  # there is no GPU, which needs no word
    print(f"kdpipe: device: auto is {device} for this study ({reason})", file=sys.stderr)
    return device


def select_local_device(requested: str) -> str:
    """Return the device with which a study would begin on this machine."""
    if requested == "cpu" or not list_gpus() or find_unusable_reason() is not None:
        return "cpu" if requested == "auto" else requested
    hide_unusable_gpus()
    return "cuda"


def get_job_device(requested: str) -> str:
    """Return the device that the head process selected; raise KdpipeError if it is unknown."""
    device = os.environ.get(DEVICE_VARIABLE) or requested
    if device not in ("auto", "cpu", "cuda"):
        print(
            f"kdpipe: {DEVICE_VARIABLE}={format_value(device)} is not a device and is ignored: "
            f"unset {DEVICE_VARIABLE}",
            file=sys.stderr,
        )
        device = requested
    if device == "auto":
        raise KdpipeError(
            f"device: auto was decided where the study was started, but {DEVICE_VARIABLE} did not "
            "reach this job: write device: cpu or device: cuda"
        )
    return device
