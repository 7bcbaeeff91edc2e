"""A network that wants other images, or tells other classes apart, as one for those of the study.

It is given a batch as the students are, normalised, and makes of the same crop what its network
wants: pixels in [0, 1] again, grey or coloured, scaled, normalised by the network's own numbers.
Scaling starts from the pixels of the study's grid, which are of 8 bits; its result is not rounded
to 8 bits again, as torchvision does with pictures and not with arrays of floats.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdpipe.networks.brought import fed

AT_ONCE = 32  # images on a CPU, as `data.images.forward_size` has it for large ones
GREY = (0.299, 0.587, 0.114)  # of red, green and blue: as PIL makes a picture grey


class Adapted(nn.Module):
    """A network for the study's images and classes around one that wants what `given` says.

    `given` is the `input` of a spec's network (`fed.Fed.spec`). How the study's pixels were
    normalised is in its buffers, and so in the file of its weights.
    """

    mean: Tensor
    std: Tensor
    theirs: Tensor
    grey: Tensor

    def __init__(self, network: nn.Module, channels: int, given: dict, layout: torch.memory_format):
        super().__init__()
        self.network: Any = network
        self.given = given = fed.whole(given)
        self.layout = layout
        self.pick = Pick(given["picked"])
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("grey", torch.tensor(GREY), persistent=False)
        if given["mean"] is not None:
            theirs = torch.tensor([given["mean"], given["std"]])
            self.register_buffer("theirs", theirs, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes of the study) of normalised images (B, C, H, W) of the study."""
        return self.pick(self.network(self.seen(x)))

    def features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The same, and what the groups of its network put out."""
        logits, groups = self.network.features(self.seen(x))
        return self.pick(logits), groups

    def seen(self, x: Tensor) -> Tensor:
        """What its network is shown: (B, channels, height, width), normalised for it."""
        if self.given["mean"] is None:
            return x
        x = x * _of_channels(self.std) + _of_channels(self.mean)
        x = _coloured(x, self.given["channels"], self.grey)
        x = _scaled(x, self.given)
        mean, std = self.theirs
        x = (x - _of_channels(mean)) / _of_channels(std)
        return x.contiguous(memory_format=self.layout)


class Pick(nn.Module):
    """Of the logits of a network those that the study has classes for."""

    classes: Tensor | None

    def __init__(self, classes: list[int] | None):
        super().__init__()
        if classes is None:
            self.register_buffer("classes", None)
        else:
            self.register_buffer("classes", torch.tensor(classes), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        return logits if self.classes is None else logits.index_select(1, self.classes)


def inside(model: nn.Module) -> nn.Module:
    """The network that weights belong to: itself, or what is adapted."""
    return model.network if isinstance(model, Adapted) else model


def normalised_by(model: nn.Module, mean: Any, std: Any) -> None:
    """Tell a network by what its images were normalised: (C,) of pixels in [0, 1]."""
    if isinstance(model, Adapted):
        model.mean.copy_(torch.as_tensor(mean))
        model.std.copy_(torch.as_tensor(std))


def in_parts(
    model: nn.Module, x: Tensor, at_once: Callable[[int, int, torch.device], int]
) -> Tensor:
    """The logits of a batch. What an adapted network wants may be much larger: few at a time.

    at_once: how many images of a height and a width a device classifies at once.
    """
    if not isinstance(model, Adapted):
        return model(x)
    height, width = model.given["size"]
    most = AT_ONCE if x.device.type == "cpu" else at_once(height, width, x.device)
    if len(x) <= most:
        return model(x)
    return torch.cat([model(part) for part in x.split(most)])


def _coloured(x: Tensor, channels: int, grey: Tensor) -> Tensor:
    if x.shape[1] == channels:
        return x
    if channels == 1:
        return (x * _of_channels(grey.to(x.dtype))).sum(1, keepdim=True)
    return x.expand(-1, channels, -1, -1)


def _scaled(x: Tensor, given: dict) -> Tensor:
    """Scaled to the network's size: all of it, or what `resize` leaves of its centre."""
    height, width = given["size"]
    to = [height, width]
    if given["resize"] is not None:  # the shorter side, by torchvision's rule
        shorter = min(x.shape[2:])
        to = [int(given["resize"] * side / shorter) for side in x.shape[2:]]
    if list(x.shape[2:]) != to:
        x = F.interpolate(x, to, mode=given["interpolation"], antialias=True)
        if given["interpolation"] == "bicubic":  # it overshoots, and there are no such pixels
            x = x.clamp(0, 1)
    top, left = (round((have - want) / 2) for have, want in zip(to, (height, width), strict=True))
    return x[:, :, top : top + height, left : left + width]


def _of_channels(values: Tensor) -> Tensor:
    return values[:, None, None]
