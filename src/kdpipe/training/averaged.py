"""An exponential moving average of a network's weights over its steps: what is judged (EMA).

Training goes on with the network itself; validation, the best epoch, checkpoints, outputs and the
weights that a run leaves are those of its average. Numbers that are no parameters (the statistics
of batch normalisation) are averaged alike; what is counted or an index is taken as it is.
"""

import itertools
from collections import defaultdict

import torch
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
        return Average(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    except Exception as error:  # a network of one's own: whatever its copying does
        raise KdpipeError(
            f"recipe.ema keeps a copy of the network, and this one cannot be copied "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}): leave ema out"
        ) from None


class Average(AveragedModel):
    """Torch's, with what it does after a step done without waiting for a GPU: torch copies the
    number of steps there each time. Counts of layers are taken as they are, which these keep on
    the host; whole numbers are no averages: torch would round 3 between 3 and 3 down to 2.
    """

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, Norm):
                module.count()
        alike: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
        for mine, theirs in zip(_numbers(self.module), _numbers(model), strict=True):
            if self.n_averaged == 0 or not mine.is_floating_point():
                mine.copy_(theirs)
            else:
                averaged, now = alike[mine.dtype]
                averaged.append(mine)
                now.append(theirs)
        for averaged, now in alike.values():
            assert self.multi_avg_fn is not None
            self.multi_avg_fn(averaged, now, 0)  # of an exponential average steps do not matter
        self.n_averaged += 1


def _numbers(model: nn.Module) -> list[Tensor]:
    return [one.detach() for one in itertools.chain(model.parameters(), model.buffers())]
