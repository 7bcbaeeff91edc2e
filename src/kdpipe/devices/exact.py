"""Torch on a device, set so that the same run gives the same bytes again on the same GPU.

Deterministic kernels are asked of torch, cuDNN and cuBLAS; none is chosen by timing; and float32 is
float32: TF32 is off, for convolutions too, where torch has it on. Who wants a GPU's fast numbers
writes `autocast: bfloat16` in a recipe, which is part of a run's name. On a CPU nothing is set.
"""

import os
import re
from collections.abc import Mapping

from kdpipe.devices import listed, processor
from kdpipe.errors import KdpipeError
from kdpipe.specs.equipment import Kernels

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"  # read by cuBLAS when it is first used


def torch_device(device: str, kernels: Kernels = "deterministic"):
    """The torch device of a run, torch set for it. Raises KdpipeError if torch cannot use it."""
    import torch

    if device == "cuda":
        if not torch.cuda.is_available():
            raise KdpipeError(
                "device: cuda, but this torch finds no GPU it can use (torch.cuda.is_available()): "
                "write device: cpu, or install a torch for this driver"
            )
        settle(kernels)
    return torch.device(device)


def settle(kernels: Kernels) -> None:
    """Set torch for runs on a GPU."""
    import torch

    os.environ.update([WORKSPACE])
    exact = kernels == "deterministic"
    torch.use_deterministic_algorithms(exact)
    # What is made empty is written before it is read: to fill it would be a kernel each time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore
    torch.backends.cudnn.deterministic = exact
    torch.backends.cudnn.benchmark = False
    # By the older of torch's two ways to say it: a mixture of both is an error in torch.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def name(device) -> str:
    """What computes on a torch device: the GPU, or the processor."""
    import torch

    return torch.cuda.get_device_name() if device.type == "cuda" else processor.name()


def machine(device) -> dict[str, str]:
    """What a run's numbers may depend on where it is trained: the processor or GPU, and torch."""
    import torch

    found = {"name": name(device), "torch": torch.__version__}
    if device.type == "cuda":
        said = facts()
        found |= {key: str(said[key]) for key in ("capability", "driver", "cuda", "cudnn")}
    return found


def kind(device) -> str:
    """What a saved state may be gone on with on: a torch device, and the kernels asked of it."""
    import torch

    exact = device.type != "cuda" or torch.are_deterministic_algorithms_enabled()
    return device.type if exact else f"{device.type}, any kernels"


def facts() -> Mapping[str, str | bool]:
    """What a record says of the GPU of this process, and of how torch was set."""
    import torch

    cudnn = torch.backends.cudnn.version()
    return {
        "name": torch.cuda.get_device_name(),
        "capability": ".".join(map(str, torch.cuda.get_device_capability())),
        "driver": listed.driver() or "unknown",
        "cuda": str(torch.version.cuda),
        "cudnn": "none" if cudnn is None else str(cudnn),
        "tf32": torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
        "kernels": "deterministic" if torch.are_deterministic_algorithms_enabled() else "any",
    }


def without_a_kernel(error: BaseException) -> str | None:
    """What to do about an operation that has no deterministic kernel; None of other errors."""
    found = re.match(r"(\S+) does not have a deterministic implementation", str(error))
    if not isinstance(error, RuntimeError) or found is None:
        return None
    return (
        f"{found[1]} has no deterministic kernel here: use a network, or a term, without it; or "
        "write kernels: any in the study, which takes whatever kernel there is: such runs are not "
        "equal to the byte when they are repeated, and their records say so (docs/how-to/gpu.md)"
    )
