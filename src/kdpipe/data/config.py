"""The section `data` of a study: which images, and how they are augmented.

The keys of an augmentation are in its file in `augmentations/`; here they are combined.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from kdpipe.data import views
from kdpipe.pydantic_base import Name, PositiveCount, PositiveShare, Seed, Share, StrictModel

REST = "rest"  # the value of `unlabelled` that is not a path


class DataSubset(StrictModel):
    """The data set, and which of its images a study uses."""

    name: Name = Field(
        description="a known data set (digits, cifar10, ...), or one's own", examples=["cifar10"]
    )
    path: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="where its files lie, seen from this file; null: downloaded if it is known",
        examples=["../data/flowers"],
    )
    card: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="the card of one's own data; null: beside the data, as PATH.card.json",
        examples=["flowers.json"],
    )
    train_size: PositiveCount | None = Field(
        None, description="images to train on, see draw; null: all that are left", examples=[600]
    )
    validation: int = Field(
        0,
        ge=0,
        description="images held out of train, see draw; every choice is made on them",
        examples=[400],
    )
    draw: Literal["equal", "share"] = Field(
        "equal",
        description="what train_size and validation take: equal, as many of each class; share, of "
        "each class its share",
    )
    label_noise: Share = Field(
        0.0,
        description="share of the train labels redrawn uniformly over the classes",
        examples=[0.2],
    )
    split_seed: Seed = Field(
        0,
        description="draws training subset, validation and label noise, for each split others",
        examples=[1],
    )
    resize: Annotated[int, Field(ge=4, le=1024)] | None = Field(
        None,
        description="scale every image to this height and width; of images that stream, the side "
        "that is cropped out; null: as they are",
        examples=[32],
    )
    mean: list[Share] | None = Field(
        None,
        min_length=1,
        description="of each channel, in [0, 1]; null: measured on train",
        examples=[[0.3]],
    )
    std: list[PositiveShare] | None = Field(
        None,
        min_length=1,
        description="of each channel, in (0, 1]; null: measured on train",
        examples=[[0.4]],
    )
    unlabelled: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="images that the teacher's terms alone see, of methods that ask for some "
        "(`unlabelled`). rest: the training images that train_size leaves out; their labels are "
        "not looked at. A path: a folder of images at any depth, or a .npz of one array, which are "
        "no part of the data; their card is made by `kdpipe data STUDY`",
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
    """The data set, which of its images a study uses, and how an image is augmented."""
