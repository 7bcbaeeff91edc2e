"""An exponential moving average of a network's weights over its steps: what is judged (EMA).

Training goes on with the network itself; validation, the best epoch, checkpoints, outputs and the
weights that a run leaves are those of its average. Numbers that are no parameters (the statistics
of batch normalisation) are averaged alike; what is counted or an index is taken as it is.
"""

from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kdpipe.errors import KdpipeError
from kdpipe.networks.blocks import Norm


def of(model: nn.Module, recipe: dict) -> AveragedModel | None:
    """The average of a network that has made no step; None where the recipe wants none.

    `update_parameters` after a step makes it decay * average + (1 - decay) * network; after the
    first step it is the network. Raises KdpipeError for a network that cannot be copied.
    """
    decay = recipe.get("ema")
    if decay is None:
        return None
    try:
        return Average(model, multi_avg_fn=_towards(decay), use_buffers=True)
    except Exception as error:  # a network of one's own: whatever its copying does
        raise KdpipeError(
            f"recipe.ema keeps a copy of the network, and this one cannot be copied "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}): leave ema out"
        ) from None


class Average(AveragedModel):
    """One that takes the counts of layers as they are, which these keep on the host."""

    def update_parameters(self, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, Norm):
                module.count()
        super().update_parameters(model)


def _towards(decay: float) -> Any:
    average = get_ema_multi_avg_fn(decay)

    def towards(averaged: list[Tensor], now: list[Tensor], steps: Tensor | int) -> None:
        """Whole numbers are no averages: torch would round 3 between 3 and 3 down to 2."""
        if averaged[0].is_floating_point():
            average(averaged, now, steps)
        else:
            for one, other in zip(averaged, now, strict=True):
                one.copy_(other)

    return towards
