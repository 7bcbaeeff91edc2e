"""The optimizer of a run: what all optimizers share, around the one that a recipe names.

Parameters are grouped by learning rate and weight decay, gradients are clipped by norm, and the
optimizer state of each parameter is stored under the parameter's name.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kdpipe.runs.recipe import Recipe, load_optimizers


class Optimizer:
    """Parameters by name, and the optimizer state of each.

    Parameters
    ----------
    parameters : dict of nn.Parameter
        The trainable parameters by name.
    recipe : Recipe
    lr_factors : mapping of float, optional
        Factors on the learning rate for parameters that learn more slowly than the rest.

    Attributes
    ----------
    state : dict of dict of Tensor
        For each kind of state (SGD: momentum) a tensor by parameter name; empty before the first
        step.
    """

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        recipe: Recipe,
        lr_factors: Mapping[str, float] | None = None,
    ):
        self.parameters = parameters
        self.recipe = recipe
        self.info = load_optimizers()[recipe.optimiser]
        self.state: dict[str, dict[str, Tensor]] = {kind: {} for kind in self.info.state}
        exempt_1d = recipe.weight_decay_on == "weights"
        self.no_decay = {name for name, p in parameters.items() if exempt_1d and p.dim() < 2}
        self.lr_factors = lr_factors or {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Make one step with the gradients of `backward`, and clear them."""
        trainable = {name: p for name, p in self.parameters.items() if p.grad is not None}
        if (max_norm := self.recipe.clip_norm) is not None:
            nn.utils.clip_grad_norm_(trainable.values(), max_norm)
        decay = self.recipe.weight_decay
        groups: dict[tuple[float, float], list[str]] = {}
        for name in trainable:
            group_key = self.lr_factors.get(name, 1.0), 0.0 if name in self.no_decay else decay
            groups.setdefault(group_key, []).append(name)
        for (factor, weight_decay), names in groups.items():
            self._step_group(names, lr * factor, weight_decay)
        for parameter in trainable.values():
            parameter.grad = None

    def _step_group(self, names: list[str], lr: float, weight_decay: float) -> None:
        """Make the step for parameters that share a learning rate and a weight decay."""
        parameters = [self.parameters[name] for name in names]
        gradients = [parameter.grad for parameter in parameters]
        state = {kind: [values.get(name) for name in names] for kind, values in self.state.items()}
        self.info.step(parameters, gradients, state, self.recipe, lr, weight_decay)
        for kind, values in state.items():
            self.state[kind] |= {
                name: value for name, value in zip(names, values, strict=True) if value is not None
            }
