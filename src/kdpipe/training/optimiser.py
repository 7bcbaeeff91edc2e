"""A step down the gradient: torch's own SGD and AdamW, and what they keep from step to step.

`torch.optim.SGD` is left alone for one reason: its constructor imports the compiler, a second of
work in each of a study's thousands of jobs. What it calls in the end is called here directly.
"""

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

SECOND_BETA, EPSILON = 0.999, 1e-8  # of AdamW, as torch has them


class Descent:
    """Parameters by name, and what their optimiser keeps of each; empty before the first step.

    `state` has a mapping for each thing that is kept: SGD's momentum; AdamW's first moment under
    the same name, the second, and the number of steps.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], recipe: dict):
        self.parameters = parameters
        self.recipe = recipe
        self.state: dict[str, dict[str, Tensor]] = {"momentum": {}, "second": {}, "steps": {}}
        self.move = self._adamw if recipe.get("optimiser") == "adamw" else self._sgd
        spared = recipe.get("weight_decay_on") == "weights"
        self.still = {name for name, p in parameters.items() if spared and p.dim() < 2}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One step down the gradients that `backward` left, which are then let go."""
        moved = {name: p for name, p in self.parameters.items() if p.grad is not None}
        if (longest := self.recipe.get("clip_norm")) is not None:
            nn.utils.clip_grad_norm_(moved.values(), longest)
        decay = self.recipe["weight_decay"]
        for names, shrinking in ((moved.keys() - self.still, decay), (self.still, 0.0)):
            if group := {name: p for name, p in moved.items() if name in names}:
                self.move(group, lr, shrinking)
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
