"""The linear classifier that a network ends in, and what it is given: the network's features.

A probe takes them, and the trial of a network of one's own says whether there are any.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kdpipe.errors import KdpipeError


def of(model: nn.Module, classes: int, name: str) -> nn.Linear:
    """The last linear layer with as many outputs as classes. KdpipeError if there is none."""
    found = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    if not found:
        raise KdpipeError(
            f"{name} has no linear layer of {classes} outputs: a probe needs a network that ends "
            "in a linear classifier"
        )
    return found[-1]


@contextlib.contextmanager
def heard(model: nn.Module, classes: int, name: str) -> Iterator[Callable[[Tensor], Tensor]]:
    """A function from images (B, C, H, W) to what the classifier is given (B, F), in eval mode.

    It raises KdpipeError if the network does not end in its classifier.
    """
    seen: list[tuple[Any, Any]] = []
    layer = of(model, classes, name)
    hook = layer.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))

    def features(x: Tensor) -> Tensor:
        seen.clear()
        logits = model(x)
        given, out = seen[-1] if seen else (None, None)
        if given is None or given.ndim != 2 or out is not logits:
            raise KdpipeError(f"{name} does not end in its linear classifier: it cannot be probed")
        return given

    model.eval()
    try:
        with torch.inference_mode():
            yield features
    finally:
        hook.remove()
