"""Mixup and CutMix: images of a batch are mixed in pairs, and their labels in the same shares.

Mixup adds the pixels of two images, CutMix puts a rectangle of one image into the other. Student
and teacher see the same mixed image, so the teacher is evaluated online; a loss term that needs one
label for each image cannot be used. Views that are drawn once are also mixed once, by
`data.mixtures`.

References
----------
Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
ICCV 2019.
"""

import torch
from torch import Tensor

from kdpipe.runs.recipe import Recipe, enabled_mixes


class BatchMixer:
    """Mixes the batches of a run with the transforms of torchvision.

    Parameters
    ----------
    recipe : Recipe
        Its `mixup` and `cutmix` are the alphas; None disables one.
    classes : int
        The number of classes.
    """

    def __init__(self, recipe: Recipe, classes: int):
        self.transforms = []
        if alphas := enabled_mixes(recipe):
            from torchvision.transforms import v2

            transform_classes = {"mixup": v2.MixUp, "cutmix": v2.CutMix}
            self.transforms = [
                transform_classes[key](alpha=alpha, num_classes=classes)
                for key, alpha in alphas.items()
            ]

    def __call__(self, x: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return a mixed batch; the batch itself if the recipe mixes nothing.

        Each batch is mixed in one way, chosen with equal chances where both are enabled, with one
        draw of Beta(alpha, alpha).

        Parameters
        ----------
        x : Tensor of shape (B, C, H, W)
            The images.
        labels : Tensor of shape (B,)
            Their classes.
        seed : int
            Set in torch's global generator, from which everything is drawn.

        Returns
        -------
        images : Tensor of shape (B, C, H, W)
        shares : Tensor of shape (B, classes)
            The shares of the classes in each image.
        """
        if not self.transforms:
            return x, labels
        # torch.manual_seed would look for a GPU.
        torch.default_generator.manual_seed(seed)
        transform = self.transforms[int(torch.randint(len(self.transforms), ()))]
        return transform(x, labels)
