"""Numbers of a GPU beside those of the CPU, as a distance relative to their size."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.networks import models

# How far logits, and gradients, may lie from the CPU's in float32, by what a GPU computes in: three
# times at least what WRN16-1 is off by where factors are rounded so on a CPU (tests/selfcheck): its
# logits by 2e-6, 6e-4 and 6e-3. Gradients are off by 4e-3, 0.07 and 0.23: a last bit turns a ReLU.
TOLERANCE = {"float32": (1e-4, 2e-2), "TF32": (1e-2, 2.5e-1), "bfloat16": (5e-2, 7e-1)}


def distance(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The length of the difference, of all together, by that of what is expected."""
    pairs = [
        (a.detach().cpu().double(), b.detach().double())
        for a, b in zip(found, expected, strict=True)
    ]
    off = sum(float((a - b).square().sum()) for a, b in pairs)
    size = sum(float(b.square().sum()) for _, b in pairs)
    return (off / max(size, 1e-30)) ** 0.5


def network(name: str, shape: tuple[int, int, int]) -> nn.Module:
    """A network for ten classes in training mode, always with the same weights.

    It drops nothing: another device draws other numbers from the same seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.build(name, num_classes=10, in_channels=shape[0])
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model.to(memory_format=models.memory_format(name)).train()


def batch(shape: tuple[int, int, int], images: int) -> tuple[Tensor, Tensor]:
    """Made images and their labels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, *shape, generator=generator), torch.arange(images) % 10


def step(
    model: nn.Module, images: Tensor, labels: Tensor, half: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Logits and gradients of cross-entropy, where the network is."""
    where = next(model.parameters()).device
    model.zero_grad()
    torch.manual_seed(0)
    with torch.autocast(where.type, torch.bfloat16, enabled=half):
        logits = model(images.to(where))
    logits = logits.float()
    F.cross_entropy(logits, labels.to(where)).backward()
    return logits, [p.grad for p in model.parameters() if p.grad is not None]


def beside(
    name: str, shape: tuple[int, int, int], images: int, where, way: str
) -> tuple[float, float]:
    """The distances of logits and gradients of a step on a device from the CPU's in float32."""
    given = batch(shape, images)
    expected = step(network(name, shape), *given)
    with tf32(way == "TF32"):
        found = step(network(name, shape).to(where), *given, half=way == "bfloat16")
    return distance([found[0]], [expected[0]]), distance(found[1], expected[1])


@contextlib.contextmanager
def tf32(on: bool) -> Iterator[None]:
    """TF32 of convolutions and products inside, as no run of kdpipe has it."""
    cudnn: Any = torch.backends.cudnn
    matmul = torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = on
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before
