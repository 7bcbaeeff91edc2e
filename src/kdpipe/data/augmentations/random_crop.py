"""Random crop: infinitely many views of streamed images.

Its digit has either one value or infinitely many. In the latter case the number of a view is a
seed, and the crop is the first to draw from it.
"""

from typing import Any

from pydantic import Field

from kdpipe.data.views import INFINITE, Augmentation
from kdpipe.pydantic_base import RatioRange, ShareRange, StrictModel


class Crop(StrictModel):
    """Infinitely many views: torchvision's RandomResizedCrop, for streamed images."""

    scale: ShareRange = Field(
        default_factory=lambda: [0.08, 1.0],
        description="range of the crop's fraction of an image's area",
    )
    ratio: RatioRange = Field(
        default_factory=lambda: [0.75, 4 / 3],
        description="range of its aspect ratio, width / height, before it is resized to a square",
    )


class Keys(StrictModel):
    """The keys of the augmentation."""

    crop: Crop | None = Field(
        None,
        description="random resized crops of streamed images, infinitely many views; replaces pad",
        examples=[{"scale": [0.08, 1.0]}],
    )


def count(keys: Keys) -> int:
    """Return the number of values of the digit."""
    return 1 if keys.crop is None else INFINITE


def build_transform(keys: Keys, side: int) -> Any:
    """Return torchvision's crop of random position, area and shape, resized to a square."""
    from torchvision.transforms import v2

    crop: Any = keys.crop
    return v2.RandomResizedCrop(side, scale=tuple(crop.scale), ratio=tuple(crop.ratio))


AUGMENTATION = Augmentation(
    keys=Keys, position=0, count=count, build_transform=build_transform, sets_size=True
)
