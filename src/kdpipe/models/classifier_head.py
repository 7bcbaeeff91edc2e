"""The linear classifier at the end of a network, and its input: the network's embedding.

A probe takes it as features, loss terms compare it, and the trial of a custom network reports
whether there is one.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from kdpipe.errors import KdpipeError
from kdpipe.models.pretrained.adapter import InputAdapter


def find_head(model: nn.Module, classes: int, name: str) -> nn.Linear:
    """Return the last linear layer with as many outputs as classes.

    Parameters
    ----------
    model : nn.Module
        The network; of an adapted one the classes that it tells apart count, before those of the
        study are picked.
    classes : int
        Number of classes of the study.
    name : str
        Name of the network in the message.

    Raises
    ------
    KdpipeError
        If there is none.
    """
    if isinstance(model, InputAdapter):
        classes = model.input_spec.classes
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    if not layers:
        raise KdpipeError(
            f"{name} has no linear layer of {classes} outputs: only what a linear classifier at "
            "the end of a network is given can be probed, or compared"
        )
    return layers[-1]


class InputHook:
    """Records the input of a network's last linear layer in each forward pass.

    Parameters
    ----------
    model : nn.Module
        The network.
    classes : int
        Number of classes of the study.
    name : str
        Name of the network in messages.
    """

    def __init__(self, model: nn.Module, classes: int, name: str):
        self.name = name
        self.last: tuple[Tensor, Tensor] | None = None  # input and output of the layer
        self.hooks = [find_head(model, classes, name).register_forward_hook(self._record_input)]
        if isinstance(model, InputAdapter):
            self.hooks.append(model.select_classes.register_forward_hook(self._record_selection))

    def _record_input(self, layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        self.last = args[0], output

    def _record_selection(
        self, select: nn.Module, args: tuple[Tensor, ...], output: Tensor
    ) -> None:
        """Take picked classes of the layer's output for the logits of the network."""
        if self.last is not None and self.last[1] is args[0]:
            self.last = self.last[0], output

    def get_input(self, logits: Tensor) -> Tensor:
        """Return the input (B, F) that gave these logits, with its gradient.

        Raises
        ------
        KdpipeError
            If the network does not end in its classifier.
        """
        last, self.last = self.last, None  # it would keep the graph of a step alive
        if last is None or last[0].ndim != 2 or last[1] is not logits:
            raise KdpipeError(
                f"{self.name} does not end in its linear classifier: what that is given can "
                "neither be probed nor compared"
            )
        return last[0]

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self.hooks:
            hook.remove()


@contextlib.contextmanager
def record_head_input(
    model: nn.Module, classes: int, name: str
) -> Iterator[Callable[[Tensor], Tensor]]:
    """Give a function from images (B, C, H, W) to the classifier's input (B, F), in eval mode.

    The function raises KdpipeError if the network does not end in its classifier.
    """
    model.eval()
    with contextlib.closing(InputHook(model, classes, name)) as hook, torch.inference_mode():
        yield lambda x: hook.get_input(model(x))
