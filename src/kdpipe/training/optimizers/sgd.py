"""SGD with momentum or Nesterov momentum, and weight decay in the gradient."""

from typing import Any

from kdpipe.runs.recipe import OptimizerInfo


def _step(parameters, gradients, state, recipe: Any, lr: float, weight_decay: float) -> None:
    """Make a step; torch adds the momentum of the first one to the list."""
    from torch.optim.sgd import sgd

    sgd(
        parameters,
        gradients,
        state["momentum"],
        fused=True,
        lr=lr,
        momentum=recipe.momentum,
        weight_decay=weight_decay,
        dampening=0.0,
        nesterov=recipe.nesterov,
        maximize=False,
    )


OPTIMIZER = OptimizerInfo(
    torch_class="SGD",
    torch_arguments=lambda recipe: {
        "momentum": recipe.momentum,
        "nesterov": recipe.nesterov,
    },
    state=("momentum",),
    step=_step,
    examples=({}, {"nesterov": True, "weight_decay": 0.1}),
)
