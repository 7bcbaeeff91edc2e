"""Pad: crops of the original size from images with a margin of p pixels, at (2p+1)^2 offsets.

The value is the row of the offset times 2p+1, plus its column. Pixels are padded before they are
normalized. Streamed images are not padded: they are larger than a network's input already.
"""

from typing import Any, Literal

from pydantic import Field

from kdpipe.data.views import Augmentation
from kdpipe.pydantic_base import StrictModel


class Keys(StrictModel):
    """The keys of the augmentation."""

    pad: int = Field(
        0, ge=0, le=16, description="pixels padded on each side before a crop", examples=[4]
    )
    padding: Literal["zero", "reflect"] = Field("zero", description="padding mode")


def count(keys: Keys) -> int:
    """Return the number of values of the digit."""
    return (2 * keys.pad + 1) ** 2


def identity_value(keys: Keys) -> int:
    """Return the value of the central offset."""
    return keys.pad * (2 * keys.pad + 1) + keys.pad


def pad_images(keys: Keys, images: Any) -> Any:
    """Return images (N, C, H + 2p, W + 2p)."""
    import numpy as np

    pad_width = [(0, 0), (0, 0), (keys.pad, keys.pad), (keys.pad, keys.pad)]
    return np.pad(images, pad_width, mode="reflect" if keys.padding == "reflect" else "constant")


def transform_indices(keys: Keys, value: Any, rows: Any, columns: Any) -> tuple[Any, Any]:
    """Return rows and columns that start at the offset."""
    side = 2 * keys.pad + 1
    return rows + (value // side)[:, None], columns + (value % side)[:, None]


AUGMENTATION = Augmentation(
    keys=Keys,
    position=2,
    count=count,
    identity_value=identity_value,
    pad_images=pad_images,
    transform_indices=transform_indices,
)
