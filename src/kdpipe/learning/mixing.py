"""Mixed images: each of a batch with its neighbour in it, and their labels in the same shares.

Mixup (Zhang et al., 2018) adds up pixels, CutMix (Yun et al., 2019) puts a rectangle of one image
into the other. Teacher and student see the same mixed image, so the teacher answers live; a term
that looks at labels, one an image, cannot be learned from.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

KEYS = ("mixup", "cutmix")


def asked(recipe: Mapping) -> dict[str, float]:
    """The ways in which a recipe mixes, each with its alpha."""
    return {key: recipe[key] for key in KEYS if recipe.get(key) is not None}


class Mixing:
    """Mixes the batches of a run by torchvision; `classes` is how many there are."""

    def __init__(self, recipe: Mapping, classes: int):
        self.ways = []
        if alphas := asked(recipe):
            from torchvision.transforms import v2

            of = {"mixup": v2.MixUp, "cutmix": v2.CutMix}
            self.ways = [of[key](alpha=alpha, num_classes=classes) for key, alpha in alphas.items()]

    def __call__(self, x: "Tensor", labels: "Tensor", seed: int) -> "tuple[Tensor, Tensor]":
        """Images (B, C, H, W) mixed, and the shares (B, classes) of their labels (B,).

        One way a batch, with even chances where there are two, and one draw of Beta(alpha, alpha).
        All is drawn from torch's global generator, set to `seed`. Without a way: both as they are.
        """
        if not self.ways:
            return x, labels
        import torch

        # Of torch.manual_seed the part that does not look for a GPU.
        torch.default_generator.manual_seed(seed)
        way = self.ways[int(torch.randint(len(self.ways), ()))]
        return way(x, labels)
