"""What a network of one's own computes: its logits for made images, with made weights.

Code that was changed says something else, in eval mode or after a step of training. The answer
stands in the network's card and in the specs of its runs, and a job compares it before it uses the
network: two computations never come under one name.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.networks.layouts import memory_format
from kdpipe.networks.own.attributes import generators

IMAGES = 2
HELD = 12  # logits
TOLERANCE = 1e-3  # of the largest: machines round differently


def images(shape: Sequence[int]) -> Tensor:
    """Made images, always the same."""
    return torch.randn(IMAGES, *shape, generator=torch.Generator().manual_seed(0))


def of(
    make: Callable[[], nn.Module], shape: Sequence[int], layout: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The answer in eval mode, and that after a step of training.

    Empty where it is not finite; without a step where it draws random numbers in training, for
    such a network is not trained. `make` builds it from torch's global generator.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        model = make().to(memory_format=memory_format(layout))
        move(model)
        x = images(shape).contiguous(memory_format=memory_format(layout))
        first = _held(model, x)
        return first, _held(model, x) if _learned(model, x) else ()


def agree(old: Sequence[float], new: Sequence[float]) -> bool:
    """Whether two answers are the same but for rounding."""
    scale = max([1e-3, *map(abs, old)])
    return len(old) == len(new) and all(
        abs(one - other) <= TOLERANCE * scale for one, other in zip(old, new, strict=True)
    )


def move(model: nn.Module) -> None:
    """Move the weights off their start, where a layer may be zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            inputs = parameter.numel() / len(parameter) if parameter.dim() > 1 else 1
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += 0.1 * noise / max(1, inputs) ** 0.5


def _held(model: nn.Module, x: Tensor) -> tuple[float, ...]:
    with torch.no_grad():
        logits = model.eval()(x.clone())
    if not bool(logits.isfinite().all()):
        return ()
    return tuple(float(f"{value:.6g}") for value in logits.flatten()[:HELD].tolist())


def _learned(model: nn.Module, x: Tensor) -> bool:
    """Train it for one step; False for a network that draws random numbers."""
    before = generators()
    logits = model.train()(x.clone())
    if before != generators():
        return False
    F.cross_entropy(logits, torch.arange(len(x)) % logits.shape[1]).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    return True
