"""The GPUs of this machine, as nvidia-smi knows them, and those of them that this process may use.

One GPU has one name, whether it was asked for by index, by UUID, by the beginning of one, or not at
all. What is cut into instances (MIG) is the names of these: CUDA takes one of them for a GPU.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping

_LINE = re.compile(r"^(?P<inside>[ \t]*)(?:GPU|MIG)\b.*\(UUID: (?P<name>[^)\s]+)\)", re.M)
_NAME = re.compile(r"\d+$|GPU-|MIG-")


def gpus() -> list[str]:
    """The GPUs that this process may use: their UUIDs where nvidia-smi knows them.

    CUDA_VISIBLE_DEVICES is read as CUDA reads it: what stands behind a name that means no GPU, as
    -1 or SLURM's NoDevFiles, is not seen.
    """
    whole, known = _listed()
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return known
    found = []
    for word in filter(None, (word.strip() for word in wanted.split(","))):
        if not known:  # nvidia-smi says nothing: of a name its form alone is known
            meant = [word] if _NAME.match(word) else []
        elif word.isdigit():  # it counts GPUs, and means the first instance of one that is cut
            meant = whole[int(word)][:1] if int(word) < len(whole) else []
        else:
            meant = [name for name in known if name.startswith(word)]
        if len(meant) != 1:
            break
        found += meant
    return found


def driver() -> str | None:
    """The version of NVIDIA's driver here; None without one."""
    said = _said("--query-gpu=driver_version", "--format=csv,noheader")
    found = re.search(r"^\d+(\.\d+)+$", said, re.M)  # it may complain of a GPU first
    return found[0] if found else None


def filled() -> Mapping[str, float]:
    """The share of its memory that is in use, of each GPU that says so, by UUID."""
    found = {}
    said = _said("--query-gpu=uuid,memory.used,memory.total", "--format=csv,noheader,nounits")
    for line in said.splitlines():
        name, _, rest = line.partition(",")
        used, _, total = rest.partition(",")
        try:
            found[name.strip()] = float(used) / float(total)
        except (ValueError, ZeroDivisionError):  # "[N/A]", of one that shares the host's memory
            continue
    return found


def _listed() -> tuple[list[list[str]], list[str]]:
    """Of each GPU, in the order of the bus, what it is cut into, or itself; and all of these.

    A GPU that has fallen off the bus is a line without a UUID.
    """
    whole: list[list[str]] = []
    uncut: list[bool] = []
    for line in _LINE.finditer(_said("-L")):
        if not line["inside"]:
            whole.append([line["name"]])
            uncut.append(True)
        elif whole:
            kept = [] if uncut[-1] else whole[-1]
            whole[-1], uncut[-1] = [*kept, line["name"]], False
    return whole, [name for names in whole for name in names]


def _said(*options: str) -> str:
    """What nvidia-smi answers; of one that fails what it has said before, "" without a driver."""
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        done = subprocess.run(
            ["nvidia-smi", *options], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
