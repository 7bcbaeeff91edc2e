"""Errors of GPUs, told from bugs: out of memory, a missing kernel, a GPU that has failed.

A forward pass that runs out of memory is repeated once with half as many images at a time.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from kdpipe.devices.determinism import explain_missing_kernel

T = TypeVar("T")

# cuBLAS and cuDNN allocate memory of their own, and report its lack in their own words.
_NO_MEMORY = (
    *("out of memory", "allocate memory", "not enough memory"),
    *("cublas_status_alloc_failed", "cublas_status_not_initialized"),
    *("cudnn_status_not_initialized", "cudnn_status_alloc_failed"),
    "allocation_failed",  # cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
    "unable to find an engine to execute",  # a convolution, where no workspace fits
)
# CUDA's words for a GPU that has failed, or disappeared, under a process.
_GPU_LOST = (
    *("gpu is lost", "fallen off the bus", "uncorrectable ecc", "unspecified launch failure"),
    *("no cuda-capable device is detected", "no cuda gpus are available", "unknown error"),
    *("hardware stack error", "nvlink", "hardware error", "system not yet initialized"),
)
# A GPU whose owner lets one process at a time use it (nvidia-smi -c EXCLUSIVE_PROCESS).
_BUSY = "busy or unavailable"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory, of the host or of a GPU, was not enough."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
    )


def is_gpu_lost(error: BaseException) -> bool:
    """Return whether an error says that a GPU has failed: a fault of the machine, not of a run."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "cuda" in text and any(words in text for words in _GPU_LOST)
    )


def explain_gpu_error(error: BaseException) -> str | None:
    """Return what to do about an error that only occurs on a GPU.

    Returns
    -------
    str or None
        The advice; None for other errors, and for a lack of memory.
    """
    if is_gpu_lost(error):
        first_line = str(error).strip().splitlines()[0]
        return (
            f"the GPU has failed ({first_line}), a hardware error; the run resumes from its saved "
            "state when it is started again; see nvidia-smi and dmesg (Xid) for details, and "
            "exclude the GPU with CUDA_VISIBLE_DEVICES"
        )
    if isinstance(error, RuntimeError) and _BUSY in str(error):
        return (
            "another process has exclusive use of this GPU, whose compute mode is exclusive "
            "(nvidia-smi -q -d COMPUTE): set runs_per_gpu: 1, or choose another GPU with "
            "CUDA_VISIBLE_DEVICES; if there is no other process, the GPU has failed"
        )
    if isinstance(error, RuntimeError) and "to be on the same device" in str(error):
        return (
            "custom code combines tensors on two devices: create them with device=x.device, or use "
            "register_buffer; kdpipe network STUDY, or kdpipe term STUDY, shows where"
        )
    return explain_missing_kernel(error)


def retry_halving_batch(images: Any, function: Callable[[int], T]) -> T:
    """Call a function with the evaluation batch size, and again with half of it if memory is short.

    The change is printed, since a GPU may round differently with another batch size, and it stays:
    `images.eval_batch_size` is halved. A second lack of memory is an error.

    Parameters
    ----------
    images : ImageBatches
        The images.
    function : callable
        Evaluate them, so many at a time.

    Returns
    -------
    object
        What the function returns.
    """
    batch_size = images.eval_batch_size
    try:
        return function(batch_size)
    except Exception as error:
        if batch_size < 2 or not is_out_of_memory(error):
            raise
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else "MemoryError"
    # Outside of the except clause, whose traceback would keep the tensors of the first call.
    if images.device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
    images.eval_batch_size = batch_size // 2
    print(
        f"out of memory with batches of {batch_size} images ({first_line}): using "
        f"{batch_size // 2} from here on",
        flush=True,
    )
    return function(batch_size // 2)
