"""A step down the gradient: torch's own SGD and AdamW, and what they keep from step to step.

`torch.optim.SGD` is left alone for one reason: its constructor imports the compiler, a second of
work in each of a study's thousands of jobs. What it calls in the end is called here directly.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

SECOND_BETA, EPSILON = 0.999, 1e-8  # of AdamW, as torch has them


class Descent:
    """Parameters by name, and what their optimiser keeps of each; empty before the first step.

    `state` has a mapping for each thing that is kept: SGD's momentum; AdamW's first moment under
    the same name, the second, and the number of steps. `pace` has factors on the learning rate of
    those that learn slower than the rest.
    """

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        recipe: dict,
        pace: Mapping[str, float] | None = None,
    ):
        self.parameters = parameters
        self.recipe = recipe
        self.state: dict[str, dict[str, Tensor]] = {"momentum": {}, "second": {}, "steps": {}}
        self.move = self._adamw if recipe.get("optimiser") == "adamw" else self._sgd
        spared = recipe.get("weight_decay_on") == "weights"
        self.still = {name for name, p in parameters.items() if spared and p.dim() < 2}
        self.pace = pace or {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One step down the gradients that `backward` left, which are then let go."""
        moved = {name: p for name, p in self.parameters.items() if p.grad is not None}
        if (longest := self.recipe.get("clip_norm")) is not None:
            nn.utils.clip_grad_norm_(moved.values(), longest)
        decay = self.recipe["weight_decay"]
        groups: dict[tuple[float, float], dict[str, nn.Parameter]] = {}
        for name, parameter in moved.items():
            alike = self.pace.get(name, 1.0), 0.0 if name in self.still else decay
            groups.setdefault(alike, {})[name] = parameter
        for (factor, shrinking), group in groups.items():
            self.move(group, lr * factor, shrinking)
        for parameter in moved.values():
            parameter.grad = None

    def _sgd(self, moved: dict[str, nn.Parameter], lr: float, weight_decay: float) -> None:
        momentum = self.state["momentum"]
        buffers = [momentum.get(name) for name in moved]
        sgd(
            list(moved.values()),
            _gradients(moved),
            buffers,
            fused=True,
            lr=lr,
            momentum=self.recipe["momentum"],
            weight_decay=weight_decay,
            dampening=0.0,
            nesterov=self.recipe.get("nesterov", False),
            maximize=False,
        )
        for name, buffer in zip(moved, buffers, strict=True):
            if buffer is not None:
                momentum[name] = buffer

    def _adamw(self, moved: dict[str, nn.Parameter], lr: float, weight_decay: float) -> None:
        for name, parameter in moved.items():
            if name not in self.state["steps"]:
                self.state["momentum"][name] = torch.zeros_like(parameter)
                self.state["second"][name] = torch.zeros_like(parameter)
                self.state["steps"][name] = torch.zeros((), device=parameter.device)
        first, second, steps = ([kept[name] for name in moved] for kept in self.state.values())
        adam(
            list(moved.values()),
            _gradients(moved),
            first,
            second,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=self.recipe["momentum"],
            beta2=SECOND_BETA,
            lr=lr,
            weight_decay=weight_decay,
            eps=EPSILON,
            maximize=False,
            decoupled_weight_decay=True,
        )


def _gradients(moved: dict[str, nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in moved.values()]  # pyright: ignore[reportReturnType]
