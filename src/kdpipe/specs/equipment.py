"""The means of a job: what it works with, as its command line says. In no spec and in no name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kernels = Literal["deterministic", "any"]


@dataclass(frozen=True)
class Means:
    """A job's device and files.

    `runs_per_gpu` runs share a GPU, of which `kernels` are asked that are deterministic, or any;
    `weights` is the file that a pretrained network brings, or that a network begins from; `code`
    the folder of the modules that build networks of one's own; `workers` processes read the images
    that stream from their files.
    """

    device: str = "cpu"
    runs_per_gpu: int = 1
    kernels: Kernels = "deterministic"
    weights: Path | None = None
    code: Path | None = None
    workers: int = 0

    def options(self) -> list[str]:
        """What the command line of the job is told: all that is not the default."""
        told = vars(self).items()
        return [
            f"--{key.replace('_', '-')}={value}"
            for key, value in told
            if value != getattr(Means, key)
        ]


CPU = Means()
