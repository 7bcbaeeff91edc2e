"""A pretended nvidia-smi for tests, which says what it is told to."""

import os
from pathlib import Path


def nvidia_smi(
    monkeypatch, folder: Path, listed: str, memory: str = "", code: int = 0, driver="470.82.01\n"
) -> None:
    """Put it first on the path: `listed` is what -L says, `memory` what is said of memory."""
    content = {"-L": listed, "--query-gpu=uuid,memory.used,memory.total": memory}
    content["--query-gpu=driver_version"] = driver
    tool = folder / "nvidia-smi"
    cases = "".join(f"{option}) cat <<'END'\n{text}END\n;;\n" for option, text in content.items())
    tool.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}esac\nexit {code}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is taken back, whoever sets it
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
