"""Adapts a network for other images or other classes to those of the study.

It receives the same normalized batch as the students, and converts the same crop to its network's
input: back to pixels in [0, 1], gray or color, resized, normalized by the network's own mean and
std. Resizing starts from the study's 8-bit pixels; its result is not rounded to 8 bits, as
torchvision does with images but not with float arrays.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdpipe.runs.spec import AdapterSpec

CPU_BATCH_SIZE = 32  # images, as for large ones in evaluation
GRAY_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue, as in PIL


class InputAdapter(nn.Module):
    """A network for the study's images and classes around one with another input.

    The normalization of the study's pixels is in its buffers, and hence in its weights file.

    Parameters
    ----------
    network : nn.Module
        The network to adapt.
    channels : int
        Channels of the study's images.
    input_spec : AdapterSpec
        Its input: the `input` of a spec's network.
    memory_format : torch.memory_format
        Memory format that it runs in.
    """

    # Names of buffers are in exported graphs: `theirs` is mean and std of the inner network.
    mean: Tensor
    std: Tensor
    theirs: Tensor
    grey: Tensor

    def __init__(
        self,
        network: nn.Module,
        channels: int,
        input_spec: AdapterSpec,
        memory_format: torch.memory_format,
    ):
        super().__init__()
        self.network: Any = network
        self.input_spec = input_spec
        self.layout = memory_format
        self.select_classes = SelectClasses(input_spec.picked)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("grey", torch.tensor(GRAY_WEIGHTS), persistent=False)
        if input_spec.mean is not None:
            normalization = torch.tensor([input_spec.mean, input_spec.std])
            self.register_buffer("theirs", normalization, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes) for the study's normalized images (B, C, H, W)."""
        return self.select_classes(self.network(self.adapt_images(x)))

    def features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the same logits, and the group outputs of its network."""
        logits, stages = self.network.features(self.adapt_images(x))
        return self.select_classes(logits), stages

    def adapt_images(self, x: Tensor) -> Tensor:
        """Return the images for its network, (B, channels, height, width)."""
        if self.input_spec.mean is None:
            return x
        x = x * _per_channel(self.std) + _per_channel(self.mean)
        x = _match_channels(x, self.input_spec.channels, self.grey)
        x = _resize(x, self.input_spec)
        mean, std = self.theirs
        x = (x - _per_channel(mean)) / _per_channel(std)
        return x.contiguous(memory_format=self.layout)


class SelectClasses(nn.Module):
    """A layer that selects the logits of the study's classes; None selects all."""

    classes: Tensor | None

    def __init__(self, classes: list[int] | None):
        super().__init__()
        if classes is None:
            self.register_buffer("classes", None)
        else:
            self.register_buffer("classes", torch.tensor(classes), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Return the selected logits."""
        return logits if self.classes is None else logits.index_select(1, self.classes)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the network that weights belong to: the network itself, or the adapted one."""
    return model.network if isinstance(model, InputAdapter) else model


def set_normalization(model: nn.Module, mean: Any, std: Any) -> None:
    """Store how the images of a network were normalized: (C,), for pixels in [0, 1]."""
    if isinstance(model, InputAdapter):
        model.mean.copy_(torch.as_tensor(mean))
        model.std.copy_(torch.as_tensor(std))


def forward_in_chunks(
    model: nn.Module, x: Tensor, max_batch_size: Callable[[int, int, torch.device], int]
) -> Tensor:
    """Return the logits of a batch, in chunks where the network's input is much larger.

    Parameters
    ----------
    model : nn.Module
        The network.
    x : Tensor of shape (B, C, H, W)
        The study's images.
    max_batch_size : callable
        From height, width and device to how many such images are classified at once.
    """
    if not isinstance(model, InputAdapter):
        return model(x)
    height, width = model.input_spec.size
    batch_size = (
        CPU_BATCH_SIZE if x.device.type == "cpu" else max_batch_size(height, width, x.device)
    )
    if len(x) <= batch_size:
        return model(x)
    return torch.cat([model(chunk) for chunk in x.split(batch_size)])


def _match_channels(x: Tensor, channels: int, gray: Tensor) -> Tensor:
    if x.shape[1] == channels:
        return x
    if channels == 1:
        return (x * _per_channel(gray.to(x.dtype))).sum(1, keepdim=True)
    return x.expand(-1, channels, -1, -1)


def _resize(x: Tensor, input_spec: AdapterSpec) -> Tensor:
    """Resize to the network's size: the whole crop, or the center that `resize` leaves."""
    height, width = input_spec.size
    resized = [height, width]
    if input_spec.resize is not None:  # the shorter side, by torchvision's rule
        shorter = min(x.shape[2:])
        resized = [int(input_spec.resize * side / shorter) for side in x.shape[2:]]
    if list(x.shape[2:]) != resized:
        x = F.interpolate(x, resized, mode=input_spec.interpolation, antialias=True)
        if input_spec.interpolation == "bicubic":  # it overshoots the valid range
            x = x.clamp(0, 1)
    top, left = (
        round((length - cut) / 2) for length, cut in zip(resized, (height, width), strict=True)
    )
    return x[:, :, top : top + height, left : left + width]


def _per_channel(values: Tensor) -> Tensor:
    return values[:, None, None]
