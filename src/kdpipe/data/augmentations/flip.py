"""Flip: images mirrored left to right, half of them."""

from typing import Any

from pydantic import Field

from kdpipe.data.views import Digit
from kdpipe.section import Section


class Keys(Section):
    flip: bool = Field(
        False, description="mirror half of the images left to right", examples=[True]
    )


def count(keys: Keys) -> int:
    return 2 if keys.flip else 1


def gather(keys: Keys, value: Any, rows: Any, columns: Any) -> tuple[Any, Any]:
    """The columns from right to left where the value is 1."""
    import torch

    return rows, torch.where((value == 1)[:, None], columns.flip(1), columns)


def image(keys: Keys, value: int, image: Any) -> Any:
    """The image, mirrored if the value is 1."""
    from torchvision.transforms import v2

    return v2.functional.horizontal_flip(image) if value else image


def drawn(keys: Keys, side: int) -> Any:
    """torchvision's flip of every other image."""
    from torchvision.transforms import v2

    return v2.RandomHorizontalFlip(0.5)


DIGIT = Digit(keys=Keys, place=1, count=count, gather=gather, image=image, drawn=drawn)
