"""The memory format that a network is used in: channels_last where it can be, which is faster.

On some CPUs the backward pass of torch 2.14.1 corrupts the heap for a channels_last 1x1
convolution of stride 2 with 4 or 6 channels. So a network with a convolution of under 8 channels
stays contiguous. Under `SAFE` channels it crashes too where images have more than `SMALL` pixels a
side: there the families' own shortcut takes another way (`blocks.Shortcut`), and a network of one's
own that has such a convolution stays contiguous (`own.crashing`). Imports no torch until a format
is asked for: specs and cards hold its name.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FORMATS = {"contiguous": "contiguous_format", "channels_last": "channels_last"}  # name in torch
NARROW = 8  # channels: with fewer, channels_last is not safe
SAFE = 16  # input channels of a 1x1 convolution of stride 2: with so many nothing crashes
SMALL = 44  # pixels a side, up to which nothing was seen to crash


def of(narrowest: int | None) -> str:
    """The layout of a network whose narrowest convolution has so many channels; None: enough."""
    return "contiguous" if narrowest is not None and narrowest < NARROW else "channels_last"


def memory_format(layout: str) -> "torch.memory_format":
    """torch's memory format for the layout that a spec or a card names."""
    import torch

    return getattr(torch, FORMATS[layout])
