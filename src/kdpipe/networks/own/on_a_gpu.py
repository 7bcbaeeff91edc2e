"""Whether a network of one's own would fail on a GPU for what it makes on the CPU."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.errors import KdpipeError
from kdpipe.learning.own import one_device
from kdpipe.networks.own.answer import groups_of, images
from kdpipe.networks.own.building import called, found
from kdpipe.networks.own.card import NetworkCard


def refuse(card: NetworkCard, code: Path | None) -> None:
    """Raise KdpipeError if the network of a card was seen to fail there."""
    where = f"networks.{card.name}.build"
    with torch.random.fork_rng(devices=[]):
        make = found(where, card.build, code)
        model = called(where, card.build, make, card.classes, card.shape[0])
        said = fails(model, images(card.shape))
    if said:
        raise KdpipeError(f"{where}: {card.build}: {said}")


def fails(model: nn.Module, shown: Tensor) -> str | None:
    """Why it would, and what to do; None if it was not seen to. Both are used up."""

    def use() -> None:
        there, x = model.to(one_device.META), shown.to(one_device.META)
        with torch.no_grad():
            one_device.refuse_elsewhere(there.eval()(x))
            groups_of(there, x)
        labels = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        F.cross_entropy(there.train()(x), labels).backward()

    return one_device.left(use)
