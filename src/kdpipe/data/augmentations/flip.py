"""Flip: half of the images are flipped horizontally."""

from typing import Any

from pydantic import Field

from kdpipe.data.views import Augmentation
from kdpipe.pydantic_base import StrictModel


class Keys(StrictModel):
    """The keys of the augmentation."""

    flip: bool = Field(False, description="flip half of the images horizontally", examples=[True])


def count(keys: Keys) -> int:
    """Return the number of values of the digit."""
    return 2 if keys.flip else 1


def transform_indices(keys: Keys, value: Any, rows: Any, columns: Any) -> tuple[Any, Any]:
    """Return the columns from right to left where the value is 1."""
    import torch

    return rows, torch.where((value == 1)[:, None], columns.flip(1), columns)


def transform_pil(keys: Keys, value: int, image: Any) -> Any:
    """Return the image, flipped if the value is 1."""
    from torchvision.transforms import v2

    return v2.functional.horizontal_flip(image) if value else image


def build_transform(keys: Keys, side: int) -> Any:
    """Return torchvision's horizontal flip with probability 0.5."""
    from torchvision.transforms import v2

    return v2.RandomHorizontalFlip(0.5)


AUGMENTATION = Augmentation(
    keys=Keys,
    position=1,
    count=count,
    transform_indices=transform_indices,
    transform_pil=transform_pil,
    build_transform=build_transform,
)
