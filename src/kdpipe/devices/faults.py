"""What goes wrong with a GPU, told from bugs: no memory, no kernel, no GPU any more."""

from kdpipe.devices.exact import without_a_kernel

# cuBLAS and cuDNN make room for themselves, and say it in their own words when there is none.
_NO_MEMORY = (
    *("out of memory", "allocate memory", "not enough memory"),
    *("cublas_status_alloc_failed", "cublas_status_not_initialized"),
    *("cudnn_status_not_initialized", "cudnn_status_alloc_failed"),
    "allocation_failed",  # cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
    "unable to find an engine to execute",  # of a convolution, where no workspace fits
)
# Of the machine: CUDA's words for a GPU that has failed, or gone, under a process.
_GONE = (
    *("gpu is lost", "fallen off the bus", "uncorrectable ecc", "unspecified launch failure"),
    *("no cuda-capable device is detected", "no cuda gpus are available", "unknown error"),
    *("hardware stack error", "nvlink", "hardware error", "system not yet initialized"),
)
# Of a GPU whose owner lets one process at a time use it (nvidia-smi -c EXCLUSIVE_PROCESS).
_BUSY = "busy or unavailable"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of the host or of a GPU, was not enough."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
    )


def is_gone(error: BaseException) -> bool:
    """Whether a GPU has failed: a fault of the machine, not of what ran on it."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "cuda" in text and any(words in text for words in _GONE)
    )


def advice(error: BaseException) -> str | None:
    """What to do about an error that only a GPU makes; None of other errors, and of no memory."""
    if is_gone(error):
        first = str(error).strip().splitlines()[0]
        return (
            f"the GPU has failed ({first}): a fault of the machine, and the run goes on from its "
            "saved state when it is started again; nvidia-smi and dmesg (Xid) say more, and "
            "CUDA_VISIBLE_DEVICES leaves that GPU out"
        )
    if isinstance(error, RuntimeError) and _BUSY in str(error):
        return (
            "another process has this GPU for itself: its compute mode is exclusive (nvidia-smi -q "
            "-d COMPUTE), so one run at a time, runs_per_gpu: 1, or another GPU by "
            "CUDA_VISIBLE_DEVICES; if no other process is there, the GPU has failed"
        )
    if isinstance(error, RuntimeError) and "to be on the same device" in str(error):
        return (
            "code of your own puts tensors of two devices together: make them with "
            "device=x.device, or register_buffer; kdpipe network STUDY, or kdpipe term STUDY, says "
            "where"
        )
    return without_a_kernel(error)
