"""The execution options of a job, from its command line; they are in no spec and in no name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

KernelMode = Literal["deterministic", "any"]


@dataclass(frozen=True)
class ExecutionOptions:
    """The device of a job and the files that it reads besides the results folder.

    Attributes
    ----------
    device : str
        `cpu` or `cuda`.
    runs_per_gpu : int
        How many runs share a GPU.
    kernels : str
        `deterministic`, or `any`: which kernels of a GPU are used.
    weights : Path or None
        The file of the weights of a pretrained network, or of those that training starts from.
    code : Path or None
        The folder of the modules that build custom networks.
    workers : int
        Processes that read images which are streamed from their files.
    processes : int
        At most as many processes train one network, each on a GPU of its own if there are any.
    """

    device: str = "cpu"
    runs_per_gpu: int = 1
    kernels: KernelMode = "deterministic"
    weights: Path | None = None
    code: Path | None = None
    workers: int = 0
    processes: int = 1

    def to_arguments(self) -> list[str]:
        """Return the arguments of a job's command line: all values but the defaults."""
        fields = vars(self).items()
        return [
            f"--{key.replace('_', '-')}={value}"
            for key, value in fields
            if value != getattr(ExecutionOptions, key)
        ]


CPU_OPTIONS = ExecutionOptions()
