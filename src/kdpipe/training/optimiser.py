"""Stochastic gradient descent with momentum and weight decay: torch's own step.

`torch.optim.SGD` is left alone for one reason: its constructor imports the compiler, a second of
work in each of a study's thousands of jobs. What it calls in the end is called here directly.
"""

import torch
from torch import nn
from torch.optim.sgd import sgd


class Descent:
    """Parameters and their momentum, by name; empty before the first step."""

    def __init__(
        self, parameters: dict[str, nn.Parameter], *, momentum: float, weight_decay: float
    ):
        self.parameters = parameters
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.buffers: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One step down the gradients that `backward` left, which are then let go."""
        moved = {name: p for name, p in self.parameters.items() if p.grad is not None}
        buffers = [self.buffers.get(name) for name in moved]
        sgd(
            list(moved.values()),
            [parameter.grad for parameter in moved.values()],  # pyright: ignore[reportArgumentType]
            buffers,
            fused=True,
            lr=lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for (name, parameter), buffer in zip(moved.items(), buffers, strict=True):
            parameter.grad = None
            if buffer is not None:
                self.buffers[name] = buffer
