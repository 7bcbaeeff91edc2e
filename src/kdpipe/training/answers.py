"""What a network says of a batch: its logits, and what terms of the loss look at beside them."""

from collections.abc import Callable, Mapping, Set
from typing import Any

import torch
from torch import Tensor, nn

from kdpipe.devices import compiling
from kdpipe.errors import KdpipeError
from kdpipe.learning.term import Said
from kdpipe.networks.last_layer import Ear


class Answers:
    """A network that is asked for logits and for what `needs` names: groups, embedding.

    `network` is what the spec of its run says of it. Raises KdpipeError for a network that has no
    linear classifier where the embedding is needed.
    """

    def __init__(self, model: nn.Module, network: dict, needs: Set[str]):
        self.model: Any = model
        self.needs = needs
        self.ear = None
        if "embedding" in needs:
            self.ear = Ear(model, network["classes"], network["name"])

    def __call__(self, x: Tensor) -> Said:
        """Of images (B, C, H, W). Raises KdpipeError if it does not end in its classifier."""
        logits, groups = self.model.features(x) if "groups" in self.needs else (self.model(x), [])
        return Said(logits, groups, self.ear.heard(logits) if self.ear else None)

    def close(self) -> None:
        """Leave the network as it was."""
        if self.ear:
            self.ear.close()


def in_training(answers: Answers, recipe: dict) -> Callable:
    """A function of (x, weights of terms) that gives what the network says, logits in float32.

    More than logits is had where a term may ask for it. Autocast and compilation are the student's
    in training alone: teachers and every evaluation stay without it.
    """

    def plain(x: Tensor, asked: bool) -> Said:
        return answers(x) if asked else Said(answers.model(x), [])

    run = plain
    if recipe.get("compile"):
        device = next(answers.model.parameters()).device.type
        if what := compiling.missing(device):
            raise KdpipeError(
                f"recipe.compile needs {what}: install it, or write compile: false (which makes "
                "other runs)"
            )
        # Each size of batch compiled by itself: which came first must not change the bytes.
        run = torch.compile(plain, dynamic=False)
    half = recipe.get("autocast") is not None

    def forward(x: Tensor, terms: Mapping[str, float]) -> Said:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            said = run(x, bool(answers.needs and terms))
        return said._replace(logits=said.logits.float())

    return forward
