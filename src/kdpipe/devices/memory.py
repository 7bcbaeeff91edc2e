"""Forwards that a device has no memory for: once more, with half as many images at a time."""

from collections.abc import Callable
from typing import Any, TypeVar

from kdpipe.devices.faults import is_out_of_memory

Answer = TypeVar("Answer")


def halved(images: Any, ask: Callable[[int], Answer]) -> Answer:
    """`ask` of so many images at a time, or of half of them where memory was not enough.

    It is said, since a GPU may round differently with other numbers; and `forward_size` of the
    images stays what it is then. A second time there is no other way out than the error.
    """
    size = images.forward_size
    try:
        return ask(size)
    except Exception as error:
        if size < 2 or not is_out_of_memory(error):
            raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else "MemoryError"
    # Here, where no traceback holds on to what was made before.
    if images.device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
    images.forward_size = size // 2
    print(
        f"out of memory with {size} images at a time ({first}): {size // 2} from here on",
        flush=True,
    )
    return ask(size // 2)
