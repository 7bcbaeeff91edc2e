"""TODO data.keys, from study."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from kdpipe.section import Name, Positive, Section, Seed, Share, Spread


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


class Data(Section):
    """The data set, what is taken of it, and how an image is augmented."""

    name: Name = Field(description="a known data set (digits, cifar10, ...), or one's own")
    path: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="where its files lie, seen from this file; null: downloaded if it is known",
    )
    card: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None, description="the card of one's own data; null: beside the data, as PATH.card.json"
    )
    train_size: Positive | None = Field(
        None, description="images to train on, balanced over the classes; null: all that are left"
    )
    validation: int = Field(
        0, ge=0, description="images held out of train, balanced; every choice is made on them"
    )
    label_noise: Share = Field(
        0.0, description="share of the train labels redrawn uniformly over the classes"
    )
    split_seed: Seed = Field(0, description="draws subset, validation and label noise")
    resize: Annotated[int, Field(ge=4, le=1024)] | None = Field(
        None, description="scale every image to this height and width; null: as they are"
    )
    mean: list[Share] | None = Field(
        None, min_length=1, description="of each channel, in [0, 1]; null: measured on train"
    )
    std: list[Spread] | None = Field(
        None, min_length=1, description="of each channel, in (0, 1]; null: measured on train"
    )
    pad: int = Field(0, ge=0, le=16, description="pixels padded on each side before a crop")
    padding: Literal["zero", "reflect"] = Field("zero", description="what the padding is made of")
    flip: bool = Field(False, description="mirror half of the images left to right")
    crop: Crop | None = Field(
        None, description="random crops without end, of images that stream; instead of pad"
    )
