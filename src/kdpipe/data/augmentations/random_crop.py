"""Random crop: infinitely many views of images that stream.

Its digit has one value or infinitely many. In the latter case the number of a view is a seed, and
the crop is the first to draw from it.
"""

from typing import Any

from pydantic import Field

from kdpipe.data.views import INFINITE, Augmentation
from kdpipe.pydantic_base import RatioRange, ShareRange, StrictModel


class Crop(StrictModel):
    """Infinitely many views: torchvision's RandomResizedCrop, for images that stream."""

    scale: ShareRange = Field(
        default_factory=lambda: [0.08, 1.0],
        description="from .. to which share of an image's area a crop takes",
    )
    ratio: RatioRange = Field(
        default_factory=lambda: [0.75, 4 / 3],
        description="from .. to which width by height it has, before it is made a square",
    )


class Keys(StrictModel):
    """The keys of the augmentation."""

    crop: Crop | None = Field(
        None,
        description="random crops without end, of images that stream; instead of pad",
        examples=[{"scale": [0.08, 1.0]}],
    )


def count(keys: Keys) -> int:
    """Return the number of values of the digit."""
    return 1 if keys.crop is None else INFINITE


def build_transform(keys: Keys, side: int) -> Any:
    """Return torchvision's crop of random position, area and shape, scaled to a square."""
    from torchvision.transforms import v2

    crop: Any = keys.crop
    return v2.RandomResizedCrop(side, scale=tuple(crop.scale), ratio=tuple(crop.ratio))


AUGMENTATION = Augmentation(
    keys=Keys, position=0, count=count, build_transform=build_transform, sets_size=True
)
