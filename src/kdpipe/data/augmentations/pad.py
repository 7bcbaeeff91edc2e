"""Pad: crops of the original size out of images with a margin of p pixels, at (2p+1)^2 offsets.

The value is the row of the offset times 2p+1, and its column. Pixels are padded before they are
normalised. Images that stream are not padded: they have more pixels than a network sees already.
"""

from typing import Any, Literal

from pydantic import Field

from kdpipe.data.views import Digit
from kdpipe.section import Section


class Keys(Section):
    pad: int = Field(
        0, ge=0, le=16, description="pixels padded on each side before a crop", examples=[4]
    )
    padding: Literal["zero", "reflect"] = Field("zero", description="what the padding is made of")


def count(keys: Keys) -> int:
    return (2 * keys.pad + 1) ** 2


def plain(keys: Keys) -> int:
    """The middle of the offsets."""
    return keys.pad * (2 * keys.pad + 1) + keys.pad


def margin(keys: Keys, images: Any) -> Any:
    """Images (N, C, H + 2p, W + 2p)."""
    import numpy as np

    around = [(0, 0), (0, 0), (keys.pad, keys.pad), (keys.pad, keys.pad)]
    return np.pad(images, around, mode="reflect" if keys.padding == "reflect" else "constant")


def gather(keys: Keys, value: Any, rows: Any, columns: Any) -> tuple[Any, Any]:
    """Rows and columns from the offset on."""
    side = 2 * keys.pad + 1
    return rows + (value // side)[:, None], columns + (value % side)[:, None]


DIGIT = Digit(keys=Keys, place=2, count=count, plain=plain, margin=margin, gather=gather)
