"""Erase: a rectangle of some images is taken away (random erasing, Zhong et al., 2020).

As torchvision draws it: a share of the area, a height by width along a logarithm, anew for up to
ten times until it is within the image; then a place. What is erased is the mean of the pixels, by
which they are normalised: 0 afterwards. It comes last, of images in an array and of those that
stream.
"""

import math
from typing import Any

from pydantic import Field

from kdpipe.data.views import ENDLESS, Digit, split
from kdpipe.section import Ratios, Section, Spread, Spreads

TRIES = 10


class Erase(Section):
    """Views without end: torchvision's RandomErasing, drawn for each image."""

    probability: Spread = Field(
        0.25, description="share of the images in which something is erased"
    )
    scale: Spreads = Field(
        default_factory=lambda: [0.02, 0.33],
        description="from .. to which share of an image's area is erased",
    )
    ratio: Ratios = Field(
        default_factory=lambda: [0.3, 3.3],
        description="from .. to which height by width the rectangle has",
    )


class Keys(Section):
    erase: Erase | None = Field(
        None,
        description="random erasing, drawn for each image: views without end, teachers answer "
        "live; null: none",
        examples=[{"probability": 0.25}],
    )


def count(keys: Keys) -> int:
    return 1 if keys.erase is None else ENDLESS


def rectangles(erase: Erase, seed: Any, height: int, width: int) -> Any:
    """Of each image (B,) the first row, the first column, rows and columns: (B, 4); 0 rows where
    nothing is erased.
    """
    import torch

    def uniform(number: int) -> Any:
        return (split(seed, number) >> 10).double() / 2**53

    (least, most), (low, high) = erase.scale, map(math.log, erase.ratio)
    rows, columns = torch.zeros_like(seed), torch.zeros_like(seed)
    waiting = uniform(0) < erase.probability
    for turn in range(TRIES):
        area = height * width * (least + (most - least) * uniform(3 + 2 * turn))
        ratio = torch.exp(low + (high - low) * uniform(4 + 2 * turn))
        tall = torch.round(torch.sqrt(area * ratio)).long()
        wide = torch.round(torch.sqrt(area / ratio)).long()
        taken = waiting & (tall < height) & (wide < width)
        waiting = waiting & ~taken
        rows, columns = torch.where(taken, tall, rows), torch.where(taken, wide, columns)
    top = split(seed, 1) % (height - rows + 1)
    left = split(seed, 2) % (width - columns + 1)
    return torch.stack([top, left, rows, columns], dim=1)


def normalised(keys: Keys, seed: Any, x: Any) -> Any:
    """x (B, C, H, W), overwritten with 0 in the rectangles of its seeds (B,), on the CPU."""
    import torch

    from kdpipe.data.images import over

    erase: Any = keys.erase
    height, width = x.shape[2:]
    places = over(rectangles(erase, seed, height, width), x.device)
    top, left, rows, columns = (one[:, None] for one in places.unbind(1))
    down = torch.arange(height, device=x.device)[None]
    right = torch.arange(width, device=x.device)[None]
    inside = ((down >= top) & (down < top + rows))[:, None, :, None]
    inside = inside & ((right >= left) & (right < left + columns))[:, None, None, :]
    return x.masked_fill_(inside, 0.0)


DIGIT = Digit(keys=Keys, place=4, count=count, normalised=normalised, revision=1)
