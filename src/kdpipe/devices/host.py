"""This machine: its processor, and the tools that torch.compile needs."""

import contextlib
import functools
import os
import platform
import shutil
import sysconfig
from pathlib import Path

from kdpipe.errors import KdpipeError

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # as Linux lists them


@functools.cache
def read_cpu_model() -> str:
    """Return the model of the processor, as in records and in the benchmark cache."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@functools.cache
def has_bfloat16() -> bool:
    """Return whether the processor has bfloat16 arithmetic: AVX512-BF16, AMX, or Arm's BF16."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text("utf-8").split()
        return not BFLOAT16_FLAGS.isdisjoint(flags)
    return False


def require_toolchain(device: str) -> None:
    """Raise KdpipeError if this machine lacks what torch.compile needs for a device."""
    if missing := find_missing_toolchain(device):
        raise KdpipeError(
            f"recipe.compile requires {missing}: install it, or set compile: false (which renames "
            "the runs)"
        )


def find_missing_toolchain(device: str) -> str | None:
    """Return what torch.compile needs for a device and this machine lacks.

    On the CPU it compiles C++; on a GPU Triton compiles its launchers as C, with Python's headers.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        The device.

    Returns
    -------
    str or None
        What is missing, with what was looked for; None if nothing is missing.
    """
    if device == "cuda":
        compilers = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
        if not any(map(shutil.which, compilers)):
            return f"a C compiler, and there is no {' or '.join(compilers)} here"
    elif shutil.which(compiler := os.environ.get("CXX", "g++")) is None:
        return f"a C++ compiler, and there is no {compiler} here"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        return f"Python's headers, and there is no {header} (Debian: apt-get install python3-dev)"
    return None
