"""The linear classifier that a network ends in, and what it is given: the network's embedding.

A probe takes it as features, terms of the loss compare it, and the trial of a network of one's own
says whether there is any.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from kdpipe.errors import KdpipeError
from kdpipe.networks.brought.adapted import Adapted


def of(model: nn.Module, classes: int, name: str) -> nn.Linear:
    """The last linear layer with as many outputs as classes. KdpipeError if there is none.

    Of an adapted network: with as many as it tells apart, before those of the study are picked.
    """
    if isinstance(model, Adapted):
        classes = model.given["classes"]
    found = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    if not found:
        raise KdpipeError(
            f"{name} has no linear layer of {classes} outputs: only what a linear classifier at "
            "the end of a network is given can be probed, or compared"
        )
    return found[-1]


class Ear:
    """Hears what the last linear layer of a network is given, whenever the network answers."""

    def __init__(self, model: nn.Module, classes: int, name: str):
        self.name = name
        self.last: tuple[Tensor, Tensor] | None = None  # what the layer was given and what it said
        self.hooks = [of(model, classes, name).register_forward_hook(self._hear)]
        if isinstance(model, Adapted):
            self.hooks.append(model.pick.register_forward_hook(self._pick))

    def _hear(self, layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        self.last = given[0], out

    def _pick(self, pick: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        """Some of what the layer said are the logits of the network."""
        if self.last is not None and self.last[1] is given[0]:
            self.last = self.last[0], out

    def heard(self, logits: Tensor) -> Tensor:
        """What was behind these logits of the network: (B, F), with its gradient.

        Raises KdpipeError if the network does not end in its classifier.
        """
        last, self.last = self.last, None  # it would keep the graph of a step alive
        if last is None or last[0].ndim != 2 or last[1] is not logits:
            raise KdpipeError(
                f"{self.name} does not end in its linear classifier: what that is given can "
                "neither be probed nor compared"
            )
        return last[0]

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()


@contextlib.contextmanager
def heard(model: nn.Module, classes: int, name: str) -> Iterator[Callable[[Tensor], Tensor]]:
    """A function from images (B, C, H, W) to what the classifier is given (B, F), in eval mode.

    It raises KdpipeError if the network does not end in its classifier.
    """
    model.eval()
    with contextlib.closing(Ear(model, classes, name)) as ear, torch.inference_mode():
        yield lambda x: ear.heard(model(x))
