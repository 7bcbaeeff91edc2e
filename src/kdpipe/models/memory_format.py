"""The memory format that a network runs in: channels_last where it is safe, which is faster.

On some CPUs the backward pass of torch 2.14.1 corrupts the heap for a channels_last 1x1
convolution of stride 2 with 4 or 6 channels. So a network with a convolution of fewer than
`MIN_SAFE_CHANNELS` channels stays contiguous. With fewer than `SAFE_SHORTCUT_CHANNELS` it crashes
too where images have more than `MAX_SAFE_SIDE` pixels a side: there the families' own shortcut
takes another way (`layers.StridedShortcut`), and a custom network that has such a convolution stays
contiguous (`custom.validate`). Specs and cards hold the name of a format, so that torch is
imported only where one is used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# By name, the attribute of torch.
MEMORY_FORMATS = {"contiguous": "contiguous_format", "channels_last": "channels_last"}
MIN_SAFE_CHANNELS = 8  # with fewer channels, channels_last is not safe
SAFE_SHORTCUT_CHANNELS = 16  # input channels of a 1x1 convolution of stride 2: so many are safe
MAX_SAFE_SIDE = 44  # pixels; no crash was seen in images up to this side


def choose_memory_format(narrowest: int | None) -> str:
    """Return the name of the format for a network by its narrowest convolution.

    `narrowest` is the fewest channels of a convolution; None if all are wide enough.
    """
    is_narrow = narrowest is not None and narrowest < MIN_SAFE_CHANNELS
    return "contiguous" if is_narrow else "channels_last"


def torch_memory_format(layout: str) -> "torch.memory_format":
    """Return torch's memory format by the name that a spec or a card holds."""
    import torch

    return getattr(torch, MEMORY_FORMATS[layout])
