"""What a network says of a batch: its logits, and what terms of the loss look at beside them."""

from collections.abc import Set
from typing import Any

from torch import Tensor, nn

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
