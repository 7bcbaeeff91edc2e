"""Compares results of a GPU with those of the CPU by their relative error."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.models import factory

# Largest relative errors of logits and gradients compared to the CPU in float32, by the precision
# of the GPU: at least three times those of WRN16-1 on a CPU whose factors are rounded in the same
# way (as the tests do): 2e-6, 6e-4 and 6e-3 for logits. Those of gradients are 4e-3, 0.07 and 0.23,
# since a change in the last bit may switch a ReLU.
TOLERANCE = {"float32": (1e-4, 2e-2), "TF32": (1e-2, 2.5e-1), "bfloat16": (5e-2, 7e-1)}


def relative_error(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the joint norm of the differences of all tensors, relative to the expected ones."""
    pairs = [
        (a.detach().cpu().double(), b.detach().double())
        for a, b in zip(actual, expected, strict=True)
    ]
    error_square = sum(float((a - b).square().sum()) for a, b in pairs)
    expected_square = sum(float(b.square().sum()) for _, b in pairs)
    return (error_square / max(expected_square, 1e-30)) ** 0.5


def build_network(name: str, shape: tuple[int, int, int]) -> nn.Module:
    """Return a network for ten classes in training mode, always with the same weights.

    It has no dropout: devices draw different numbers from the same seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = factory.build_named_model(name, num_classes=10, in_channels=shape[0])
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model.to(memory_format=factory.get_named_memory_format(name)).train()


def make_batch(shape: tuple[int, int, int], images: int) -> tuple[Tensor, Tensor]:
    """Return random images and labels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, *shape, generator=generator), torch.arange(images) % 10


def run_training_step(
    model: nn.Module, images: Tensor, labels: Tensor, is_half: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Return logits and the gradients of cross-entropy, on the device of the network."""
    device = next(model.parameters()).device
    model.zero_grad()
    torch.manual_seed(0)
    with torch.autocast(device.type, torch.bfloat16, enabled=is_half):
        logits = model(images.to(device))
    logits = logits.float()
    F.cross_entropy(logits, labels.to(device)).backward()
    return logits, [p.grad for p in model.parameters() if p.grad is not None]


def compare_to_cpu(
    name: str, shape: tuple[int, int, int], images: int, device, precision: str
) -> tuple[float, float]:
    """Return the relative errors of a step's logits and gradients against the CPU in float32."""
    inputs = make_batch(shape, images)
    expected = run_training_step(build_network(name, shape), *inputs)
    with allow_tf32(precision == "TF32"):
        actual = run_training_step(
            build_network(name, shape).to(device), *inputs, is_half=precision == "bfloat16"
        )
    return relative_error([actual[0]], [expected[0]]), relative_error(actual[1], expected[1])


@contextlib.contextmanager
def allow_tf32(is_allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 for convolutions and matrix products; runs never have it."""
    cudnn: Any = torch.backends.cudnn
    matmul = torch.backends.cuda.matmul
    previous = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = is_allowed
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = previous
