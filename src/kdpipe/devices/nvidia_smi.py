"""The GPUs of this machine by nvidia-smi, and those of them that this process may use.

A GPU has one name, its UUID, whether CUDA_VISIBLE_DEVICES has its index, its UUID, or the beginning
of that. A GPU that is divided into instances (MIG) is named by these: CUDA takes one of them for a
GPU.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping

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
            ["nvidia-smi", *options], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return process.stdout
