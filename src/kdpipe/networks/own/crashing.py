"""Convolutions that may crash in channels_last: they are found without one backward pass.

torch 2.14.1 writes beyond its buffers there (`layouts`): often the process ends by a signal, with
no message, and sometimes nothing is seen of it. Families go around it; code of one's own cannot,
and stays contiguous.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from kdpipe.networks.layouts import NARROW, SAFE, SMALL


def is_narrow(model: nn.Module, channels: int) -> bool:
    """Whether a convolution has under 8 channels (see `layouts`), of images with so many."""
    kernels = [p.shape[:2] for p in model.parameters() if p.dim() == 4]
    own = (1, channels)
    return any(o < NARROW or (i < NARROW and i not in own) for o, i in kernels)


def may_crash(forward: Callable[[], object]) -> bool:
    """Whether a call, which shows images to a network, convolves in such a way."""
    with _Heard() as heard:
        forward()
    return heard.found


class _Heard(TorchDispatchMode):
    """Listens to every convolution, whether of a module or of a function."""

    found = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            x, weight, _, stride, padding, *_, groups = args
            one_by_one = x.dim() == 4 and set(weight.shape[2:]) == {1} and groups == 1
            if one_by_one and not any(padding):
                self.found |= x.shape[1] < SAFE and _is_large(x.shape[2:], stride)
        return func(*args, **(kwargs or {}))


def _is_large(sides: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether the last pixels of a large image are stepped over."""
    left_out = any((side - 1) % step for side, step in zip(sides, stride, strict=True))
    return left_out and max(sides) > SMALL
