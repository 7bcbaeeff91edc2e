"""An exponential moving average (EMA) of a network's weights over its steps.

Training continues with the network itself; validation, the best epoch, checkpoints, outputs and the
weights of the finished run are those of the average. Floating-point buffers (the statistics of
batch normalization) are averaged too; counts and indices are copied.
"""

import itertools
from collections import defaultdict

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kdpipe.errors import KdpipeError
from kdpipe.models.layers import HostCountBatchNorm
from kdpipe.runs.recipe import Recipe


def build_ema(model: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """Return the average of an untrained network; None if the recipe has none.

    `update_parameters` after a step makes it decay * average + (1 - decay) * network; after the
    first step it is the network.

    Raises
    ------
    KdpipeError
        For a network that cannot be copied.
    """
    decay = recipe.ema
    if decay is None:
        return None
    try:
        return EMA(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    except Exception as error:  # a custom network can raise anything when copied
        raise KdpipeError(
            "recipe.ema keeps a copy of the network, but this one cannot be copied "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}): leave ema out"
        ) from None


class EMA(AveragedModel):
    """Torch's averaged model, updated without GPU synchronization.

    Torch copies the number of steps to the GPU after each. The counters of layers are kept on the
    host and copied, as all integers are: torch would round the average of 3 and 3 down to 2.
    """

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Update the average after a step of the network."""
        for module in model.modules():
            if isinstance(module, HostCountBatchNorm):
                module.count()
        by_dtype: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = defaultdict(
            lambda: ([], [])
        )
        for average, current in zip(_list_tensors(self.module), _list_tensors(model), strict=True):
            if self.n_averaged == 0 or not average.is_floating_point():
                average.copy_(current)
            else:
                averages, currents = by_dtype[average.dtype]
                averages.append(average)
                currents.append(current)
        for averages, currents in by_dtype.values():
            assert self.multi_avg_fn is not None
            # The number of steps does not matter to an exponential average.
            self.multi_avg_fn(averages, currents, 0)
        self.n_averaged += 1


def _list_tensors(model: nn.Module) -> list[Tensor]:
    """Return parameters and buffers without gradients."""
    return [tensor.detach() for tensor in itertools.chain(model.parameters(), model.buffers())]
