"""What torch.compile needs of a machine: a compiler, and the headers of Python.

On the CPU its code is C++; on a GPU it is Triton's, which compiles what starts it as C.
"""

import os
import shutil
import sysconfig
from pathlib import Path


def missing(device: str) -> str | None:
    """What is not here for a device, cpu or cuda; None if nothing is."""
    if device == "cuda":
        wanted = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
        if not any(map(shutil.which, wanted)):
            return f"a C compiler, and there is no {' or '.join(wanted)} here"
    elif shutil.which(compiler := os.environ.get("CXX", "g++")) is None:
        return f"a C++ compiler, and there is no {compiler} here"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        return f"Python's headers, and there is no {header} (Debian: apt-get install python3-dev)"
    return None
