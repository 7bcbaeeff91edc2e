"""From a picture to the pixels that a network was trained on, in the study's own way.

An export says the way as steps, each a mapping of one entry:

- `as_it_is: [height, width]`: a picture of this size, any other is refused: nobody has said how it
  comes to it;
- `stretch: side`: to a square of `side`, bilinear, by PIL;
- `shorter: side`: the shorter side to so many pixels, bilinear, by PIL;
- `centre: side`: the square of `side` in its middle;
- `scale: side`: to a square of `side`, bilinear with antialiasing, as torch does it (`scaling`).

What normalises the pixels is in the exported graph itself, and in no step. Neither torch nor
onnxruntime is imported here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from kdpipe.data.own import pictures
from kdpipe.errors import DataError
from kdpipe.shipping import scaling
from kdpipe.wording import printable


def pixels(image, name: object, given: dict) -> np.ndarray:
    """A PIL image as (C, H, W) uint8, as `input` of an export's config says.

    Raises DataError, with the name of the picture, if it cannot become that.
    """
    channels = given["channels"]
    if given["by_mode_alone"]:
        image = image.convert("L" if channels == 1 else "RGB")
    else:
        image = pictures.converted(image, name, channels)
    for step in given["steps"]:
        ((kind, asked),) = step.items()
        image = STEPS[kind](image, asked, name)
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _as_it_is(image, size: list[int], name: object):
    height, width = size
    if image.size != (width, height):
        raise DataError(
            f"{printable(name)} has {image.width} x {image.height} pixels, and the network was "
            f"trained on images of {width} x {height} as they are: bring it to that size first, as "
            "those images were"
        )
    return image


def _stretched(image, side: int, _: object):
    from PIL import Image

    return image.resize((side, side), Image.Resampling.BILINEAR)


def _shortened(image, side: int, _: object):
    from PIL import Image

    shorter, longer = sorted(image.size)
    other = int(side * longer / shorter)
    size = (side, other) if image.width <= image.height else (other, side)
    return image.resize(size, Image.Resampling.BILINEAR)


def _centre(image, side: int, _: object):
    left, top = (round((length - side) / 2) for length in image.size)
    return image.crop((left, top, left + side, top + side))


def _scaled(image, side: int, _: object):
    from PIL import Image

    array = np.asarray(image)
    planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    found = scaling.scaled(planes, side)
    return Image.fromarray(found[0] if array.ndim == 2 else found.transpose(1, 2, 0).copy())


STEPS: dict[str, Callable[[Any, Any, object], Any]] = {
    "as_it_is": _as_it_is,
    "stretch": _stretched,
    "shorter": _shortened,
    "centre": _centre,
    "scale": _scaled,
}
SAID = {
    "as_it_is": "taken as it is: it has to have {1} x {0} pixels",
    "stretch": "stretched to {0} x {0} (bilinear)",
    "shorter": "the shorter side scaled to {0} (bilinear)",
    "centre": "the centre of {0} x {0} cut out",
    "scale": "scaled to {0} x {0} (bilinear, antialiased, as torch does in float32, then rounded)",
}


def said(given: dict) -> str:
    """The steps in words, for a card."""
    parts = []
    for step in given["steps"]:
        ((kind, asked),) = step.items()
        parts.append(SAID[kind].format(*(asked if isinstance(asked, list) else [asked])))
    return ", then ".join(parts)
