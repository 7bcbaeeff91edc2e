"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

The key `momentum` is its first beta; the second beta and epsilon are torch's defaults.
"""

from typing import Any

from kdpipe.runs.recipe import OptimizerInfo

BETA2, EPSILON = 0.999, 1e-8


def _step(parameters, gradients, state, recipe: Any, lr: float, weight_decay: float) -> None:
    """Make a step from the two moments and the number of steps, which start at 0."""
    import torch
    from torch.optim.adam import adam

    for index, parameter in enumerate(parameters):
        if state["steps"][index] is None:
            state["momentum"][index] = torch.zeros_like(parameter)
            state["second"][index] = torch.zeros_like(parameter)
            state["steps"][index] = torch.zeros((), device=parameter.device)
    adam(
        parameters,
        gradients,
        state["momentum"],
        state["second"],
        [],
        state["steps"],
        fused=True,
        amsgrad=False,
        beta1=recipe.momentum,
        beta2=BETA2,
        lr=lr,
        weight_decay=weight_decay,
        eps=EPSILON,
        maximize=False,
        decoupled_weight_decay=True,
    )


OPTIMIZER = OptimizerInfo(
    torch_class="AdamW",
    torch_arguments=lambda recipe: {"betas": (recipe.momentum, BETA2), "eps": EPSILON},
    state=("momentum", "second", "steps"),
    step=_step,
    examples=({"momentum": 0.8, "weight_decay": 0.1},),
)
