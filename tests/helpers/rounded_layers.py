"""Convolutions and linear layers whose factors are rounded, as a GPU's with fewer bits.

Products of TF32 have factors of 10 bits after the point and are added up in float32; those of
bfloat16 have 7. Here both are computed on the CPU from rounded numbers, forward and backward.
"""

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

_conv2d, _linear = F.conv2d, F.linear


@contextlib.contextmanager
def factors(bits: int) -> Iterator[None]:
    """Inside, whatever a network multiplies has so many bits after the point."""

    def conv2d(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):
        options = [list(value) for value in (_two(stride), _two(padding), _two(dilation))]
        return _Convolution.apply(x, w, bias, (*options, groups), bits)

    F.conv2d, F.linear = conv2d, lambda x, w, bias=None: _Linear.apply(x, w, bias, bits)
    try:
        yield
    finally:
        F.conv2d, F.linear = _conv2d, _linear


def rounded(x: Tensor, bits: int) -> Tensor:
    """The nearest numbers with so many of float32's 23 bits, the even one of two."""
    bits_as_int = x.contiguous().view(torch.int32)
    drop = 23 - bits
    up = (1 << (drop - 1)) - 1 + ((bits_as_int >> drop) & 1)
    return ((bits_as_int + up) & ~((1 << drop) - 1)).view(torch.float32)


def _two(value) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, bias, options, bits):
        ctx.save_for_backward(x, w)
        ctx.options, ctx.bits, ctx.biased = options, bits, bias is not None
        return _conv2d(rounded(x, bits), rounded(w, bits), bias, *options)

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        *options, groups = ctx.options
        grads = torch.ops.aten.convolution_backward(
            *(rounded(value, ctx.bits) for value in (grad, x, w)),
            [len(w)] if ctx.biased else None,
            *(*options, False, [0, 0], groups),
            [True, True, ctx.biased],
        )
        return *grads, None, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, bias, bits):
        ctx.save_for_backward(x, w)
        ctx.bits = bits
        return _linear(rounded(x, bits), rounded(w, bits), bias)

    @staticmethod
    def backward(ctx, grad):
        x, w = (rounded(value, ctx.bits) for value in ctx.saved_tensors)
        short = rounded(grad, ctx.bits)
        return short @ w, short.t() @ x, grad.sum(0), None
