"""Random crop: views without end, for images that stream.

Its digit has one value or none to count. Where it has no end, the number of a view is a seed, and
the crop is the first to draw from it.
"""

from typing import Annotated, Any

from pydantic import Field, model_validator

from kdpipe.data.views import ENDLESS, Digit
from kdpipe.section import Section, Spread


class Crop(Section):
    """Views without end: torchvision's RandomResizedCrop, for images that stream."""

    scale: list[Spread] = Field(
        default_factory=lambda: [0.08, 1.0],
        min_length=2,
        max_length=2,
        description="from .. to which share of an image's area a crop takes",
    )
    ratio: list[Annotated[float, Field(ge=0.1, le=10)]] = Field(
        default_factory=lambda: [0.75, 4 / 3],
        min_length=2,
        max_length=2,
        description="from .. to which width by height it has, before it is made a square",
    )

    @model_validator(mode="after")
    def _in_order(self):
        for key in ("scale", "ratio"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key} must rise, got [{low:g}, {high:g}]")
        return self


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
