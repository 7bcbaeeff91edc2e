"""Random crop: views without end, for images that stream.

Its digit has one value or none to count. Where it has no end, the number of a view is a seed, and
the crop is the first to draw from it.
"""

from typing import Any

from pydantic import Field

from kdpipe.data.views import ENDLESS, Digit
from kdpipe.section import Ratios, Section, Spreads


class Crop(Section):
    """Views without end: torchvision's RandomResizedCrop, for images that stream."""

    scale: Spreads = Field(
        default_factory=lambda: [0.08, 1.0],
        description="from .. to which share of an image's area a crop takes",
    )
    ratio: Ratios = Field(
        default_factory=lambda: [0.75, 4 / 3],
        description="from .. to which width by height it has, before it is made a square",
    )


class Keys(Section):
    crop: Crop | None = Field(
        None,
        description="random crops without end, of images that stream; instead of pad",
        examples=[{"scale": [0.08, 1.0]}],
    )


def count(keys: Keys) -> int:
    return 1 if keys.crop is None else ENDLESS


def drawn(keys: Keys, side: int) -> Any:
    """torchvision's crop of random place, area and shape, scaled to a square."""
    from torchvision.transforms import v2

    crop: Any = keys.crop
    return v2.RandomResizedCrop(side, scale=tuple(crop.scale), ratio=tuple(crop.ratio))


DIGIT = Digit(keys=Keys, place=0, count=count, drawn=drawn, sized=True)
