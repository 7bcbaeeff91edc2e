"""Settings of torch with which the same run gives the same bytes again on the same GPU.

Deterministic kernels are requested of torch, cuDNN and cuBLAS; none is chosen by timing; and
float32 is float32: TF32 is off, also for convolutions, for which torch has it on. A GPU's faster
arithmetic is `autocast: bfloat16` in a recipe, which is part of a run's name. On a CPU nothing is
set.
"""

import os
import re
from collections.abc import Mapping

from kdpipe.devices import gpus, host
from kdpipe.errors import KdpipeError
from kdpipe.runs.execution_options import KernelMode

CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"  # read by cuBLAS when it is first used


def prepare_torch_device(device: str, kernels: KernelMode = "deterministic"):
    """Return the torch device of a run, with torch set for it.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Device of the run.
    kernels : {"deterministic", "any"}
        Kernels that it may use.

    Returns
    -------
    torch.device
        The device.

    Raises
    ------
    KdpipeError
        If torch cannot use it.
    """
    import torch

    if device == "cuda":
        if not torch.cuda.is_available():
            raise KdpipeError(
                "device: cuda, but this torch finds no GPU it can use (torch.cuda.is_available()): "
                "write device: cpu, or install a torch for this driver"
            )
        set_deterministic(kernels)
    return torch.device(device)


def set_deterministic(kernels: KernelMode) -> None:
    """Set torch for runs on a GPU, with deterministic kernels or any."""
    import torch

    os.environ.update([CUBLAS_WORKSPACE])
    is_deterministic = kernels == "deterministic"
    torch.use_deterministic_algorithms(is_deterministic)
    # Empty tensors are written before they are read: filling them would cost a kernel each time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore
    torch.backends.cudnn.deterministic = is_deterministic
    torch.backends.cudnn.benchmark = False
    # By the older of torch's two interfaces: a mixture of both is an error in torch.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def get_device_name(device) -> str:
    """Return the model of the GPU of a torch device, or of the processor."""
    import torch

    return torch.cuda.get_device_name() if device.type == "cuda" else host.read_cpu_model()


def get_machine_info(device) -> dict[str, str]:
    """Return what the numbers of a run depend on besides its spec: processor or GPU, and torch."""
    import torch

    info = {"name": get_device_name(device), "torch": torch.__version__}
    if device.type == "cuda":
        gpu_info = get_gpu_info()
        info |= {key: str(gpu_info[key]) for key in ("capability", "driver", "cuda", "cudnn")}
    return info


def format_device_key(device) -> str:
    """Return where a saved state may be resumed: the type of a torch device, and its kernels."""
    import torch

    is_deterministic = device.type != "cuda" or torch.are_deterministic_algorithms_enabled()
    return device.type if is_deterministic else f"{device.type}, any kernels"


def get_gpu_info() -> Mapping[str, str | bool]:
    """Return what a record says of the GPU of this process, and of the settings of torch."""
    import torch

    cudnn = torch.backends.cudnn.version()
    return {
        "name": torch.cuda.get_device_name(),
        "capability": ".".join(map(str, torch.cuda.get_device_capability())),
        "driver": gpus.query_driver_version() or "unknown",
        "cuda": str(torch.version.cuda),
        "cudnn": "none" if cudnn is None else str(cudnn),
        "tf32": torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
        "kernels": "deterministic" if torch.are_deterministic_algorithms_enabled() else "any",
    }


def explain_missing_kernel(error: BaseException) -> str | None:
    """Return what to do about an operation without a deterministic kernel; None of other errors."""
    match = re.match(r"(\S+) does not have a deterministic implementation", str(error))
    if not isinstance(error, RuntimeError) or match is None:
        return None
    return (
        f"{match[1]} has no deterministic kernel here: use a network, or a term, without it; or "
        "write kernels: any in the study, which allows nondeterministic kernels: repeated runs are "
        "then not bit-identical, as their records state (docs/how-to/gpu.md)"
    )
