"""The section `data` of a study: the data set, its split and its augmentations.

The keys of each augmentation are in its file in `augmentations/`; here they are combined.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from kdpipe.data import views
from kdpipe.pydantic_base import (
    ChannelCount,
    Name,
    PositiveCount,
    PositiveShare,
    Seed,
    Share,
    StrictModel,
)

REST = "rest"  # the value of `unlabelled` that is not a path


class CardOptions(StrictModel):
    """The options of `kdpipe data` that the card of a custom data set is made with."""

    resize: Annotated[int, Field(ge=4, le=1024)] | None = Field(
        None, description="height and width to which all images are resized", examples=[32]
    )
    stream: Annotated[int, Field(ge=16, le=1024)] | None = Field(
        None, description="side of the crop of images that stay in their files", examples=[224]
    )
    channels: ChannelCount | None = Field(
        None,
        description="1: grayscale, 3: color; null: 1 if all images are grayscale",
        examples=[1],
    )
    test_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="fraction of each class that is held out as the test set", examples=[0.2]
    )
    val_is: Literal["validation", "test"] | None = Field(
        None, description="role of PATH/val, if there is no PATH/test", examples=["validation"]
    )
    skip_damaged: bool = Field(
        False, description="leave out images that cannot be decoded", examples=[True]
    )

    def to_arguments(self) -> dict[str, Any]:
        """Return the options that are set, as `custom_card.build_card` takes them."""
        return self.model_dump(exclude_defaults=True)


class DataSubset(StrictModel):
    """The data set, and the subset of its images that a study uses."""

    name: Name = Field(
        description="a built-in data set (digits, cifar10, ...), or the name of a custom one",
        examples=["cifar10"],
    )
    path: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description=(
            "folder or file of the data, relative to this file; null: a built-in data set is "
            "downloaded"
        ),
        examples=["../data/flowers"],
    )
    card: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="card of a custom data set; null: PATH.card.json, next to the data",
        examples=["flowers.json"],
    )
    card_options: CardOptions | None = Field(
        None,
        description="options with which the card of a custom data set is made, by `kdpipe check "
        "STUDY --write`; the card must have been made with them",
        examples=[{"resize": 32, "test_share": 0.2}],
    )
    train_size: PositiveCount | None = Field(
        None,
        description="number of training images, see draw; null: all remaining ones",
        examples=[600],
    )
    validation: int = Field(
        0,
        ge=0,
        description="number of images held out of train, see draw; all selections are made on them",
        examples=[400],
    )
    draw: Literal["equal", "share"] = Field(
        "equal",
        description="how train_size and validation are drawn: equal, equally many of each class; "
        "share, in proportion to class sizes (stratified)",
    )
    label_noise: Share = Field(
        0.0,
        description="fraction of the train labels that are redrawn uniformly over the classes",
        examples=[0.2],
    )
    split_seed: Seed = Field(
        0,
        description="seed of training subset, validation and label noise; each split has others",
        examples=[1],
    )
    views: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None,
        description="number of augmented views of each image, drawn once with split_seed and used "
        "in all epochs, so that teacher outputs can be cached also for augmentations without end "
        "and for mixed images; null: all views",
        examples=[16],
    )
    resize: Annotated[int, Field(ge=4, le=1024)] | None = Field(
        None,
        description="resize all images to this height and width; for streamed images, the size of "
        "the crop; null: unchanged",
        examples=[32],
    )
    mean: list[Share] | None = Field(
        None,
        min_length=1,
        description="mean of each channel, in [0, 1]; null: measured on train",
        examples=[[0.3]],
    )
    std: list[PositiveShare] | None = Field(
        None,
        min_length=1,
        description="standard deviation of each channel, in (0, 1]; null: measured on train",
        examples=[[0.4]],
    )
    unlabelled: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="unlabelled images for the teacher's loss terms, in methods with `unlabelled`. "
        "rest: the training images that train_size leaves out, without their labels. A path: a "
        "folder of images at any depth, or a .npz with one array, which are not part of the data "
        "set; `kdpipe data STUDY` creates their card",
        examples=["rest", "../data/more"],
    )


_SECTIONS = [augmentation.keys for augmentation in views.load_augmentations().values()]
AUGMENTATION_KEYS = tuple(key for section in _SECTIONS for key in section.model_fields)


if TYPE_CHECKING:  # the bases are discovered: to a type checker their keys are of any type

    class _AllKeys(DataSubset):
        def __getattr__(self, key: str) -> Any: ...

else:
    # The fields of the last base come first: those of the subset, then those of the augmentations
    # in their order.
    class _AllKeys(*reversed(_SECTIONS), DataSubset):
        pass


class DataConfig(_AllKeys):
    """The data set, the subset of its images that a study uses, and its augmentations."""
