"""Erase: a rectangle of some images is erased (random erasing, Zhong et al., 2020).

It is drawn as in torchvision: a fraction of the area and an aspect ratio on a logarithmic scale, up
to ten times until the rectangle fits into the image; then its position. Erased pixels are set to
the mean, 0 after normalization. It is applied last, both to images in memory and to streamed ones.
"""

import math
from typing import Any

from pydantic import Field

from kdpipe.data.views import INFINITE, Augmentation, split_seed
from kdpipe.pydantic_base import PositiveShare, RatioRange, ShareRange, StrictModel

MAX_TRIES = 10


class Erase(StrictModel):
    """Infinitely many views: torchvision's RandomErasing, drawn per image."""

    probability: PositiveShare = Field(
        0.25, description="probability that an image has an erased rectangle"
    )
    scale: ShareRange = Field(
        default_factory=lambda: [0.02, 0.33],
        description="range of the erased fraction of an image's area",
    )
    ratio: RatioRange = Field(
        default_factory=lambda: [0.3, 3.3],
        description="range of the rectangle's aspect ratio, height / width",
    )


class Keys(StrictModel):
    """The keys of the augmentation."""

    erase: Erase | None = Field(
        None,
        description="random erasing, drawn per image: an infinite number of views, which requires "
        "live teachers unless some are drawn once (views); null: none",
        examples=[{"probability": 0.25}],
    )


def count(keys: Keys) -> int:
    """Return the number of values of the digit."""
    return 1 if keys.erase is None else INFINITE


def draw_rectangles(erase: Erase, seed: Any, height: int, width: int) -> Any:
    """Draw the rectangle of each image.

    Parameters
    ----------
    erase : Erase
        The keys of the augmentation.
    seed : Tensor of shape (B,)
        One seed per image, on the CPU.
    height, width : int
        The size of the images.

    Returns
    -------
    Tensor of shape (B, 4)
        First row, first column, rows and columns; zero rows if nothing is erased.
    """
    import torch

    def uniform(number: int) -> Any:
        """Draw the `number`-th uniform number in [0, 1) of each seed."""
        return (split_seed(seed, number) >> 10).double() / 2**53

    (least, most), (low, high) = erase.scale, map(math.log, erase.ratio)
    rows, columns = torch.zeros_like(seed), torch.zeros_like(seed)
    pending = uniform(0) < erase.probability
    for turn in range(MAX_TRIES):
        area = height * width * (least + (most - least) * uniform(3 + 2 * turn))
        ratio = torch.exp(low + (high - low) * uniform(4 + 2 * turn))
        tall = torch.round(torch.sqrt(area * ratio)).long()
        wide = torch.round(torch.sqrt(area / ratio)).long()
        fits = pending & (tall < height) & (wide < width)
        pending = pending & ~fits
        rows, columns = torch.where(fits, tall, rows), torch.where(fits, wide, columns)
    top = split_seed(seed, 1) % (height - rows + 1)
    left = split_seed(seed, 2) % (width - columns + 1)
    return torch.stack([top, left, rows, columns], dim=1)


def transform_tensor(keys: Keys, seed: Any, x: Any) -> Any:
    """Overwrite x (B, C, H, W) with 0 in the rectangles of its seeds (B,), on the CPU."""
    import torch

    from kdpipe.data.batches import to_device

    erase: Any = keys.erase
    height, width = x.shape[2:]
    boxes = to_device(draw_rectangles(erase, seed, height, width), x.device)
    top, left, rows, columns = (coordinate[:, None] for coordinate in boxes.unbind(1))
    down = torch.arange(height, device=x.device)[None]
    right = torch.arange(width, device=x.device)[None]
    inside = ((down >= top) & (down < top + rows))[:, None, :, None]
    inside = inside & ((right >= left) & (right < left + columns))[:, None, None, :]
    return x.masked_fill_(inside, 0.0)


AUGMENTATION = Augmentation(
    keys=Keys, position=4, count=count, transform_tensor=transform_tensor, revision=1
)
