"""What torch.compile needs of a machine: a compiler of C++, and the headers of Python."""

import os
import shutil
import sysconfig
from pathlib import Path


def missing() -> str | None:
    """What is not here; None if nothing is."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"a C++ compiler, and there is no {compiler} here"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        return f"Python's headers, and there is no {header} (Debian: apt-get install python3-dev)"
    return None
