"""Preprocessing of an export: an image becomes the pixels that the network was trained on.

The config of an export has it as steps, each a mapping of one entry:

- `as_it_is: [height, width]`: an image of this size; any other is refused, since it is not known
  how it gets this size;
- `stretch: side`: to a square of `side`, bilinear, by PIL;
- `shorter: side`: the shorter side to so many pixels, bilinear, by PIL;
- `centre: side`: the square of `side` in the centre;
- `scale: side`: to a square of `side`, bilinear with antialiasing, as torch does
  (`resize_like_torch`).

Normalization is in the exported graph itself, and is no step. Neither torch nor onnxruntime is
imported here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from kdpipe.data.imagefolder import decoding
from kdpipe.errors import DataError
from kdpipe.text import escape


def preprocess_image(image, name: object, input_config: dict) -> np.ndarray:
    """Return the pixels of an image.

    Parameters
    ----------
    image : PIL.Image.Image
        The image.
    name : object
        What the image is called in messages.
    input_config : dict
        The key `input` of the config of an export.

    Returns
    -------
    ndarray of shape (C, H, W)
        Pixels, uint8.

    Raises
    ------
    DataError
        If the image cannot become that.
    """
    channels = input_config["channels"]
    if input_config["by_mode_alone"]:
        image = image.convert("L" if channels == 1 else "RGB")
    else:
        image = decoding.convert_image(image, name, channels)
    for step in input_config["steps"]:
        ((kind, argument),) = step.items()
        image = STEP_FUNCTIONS[kind](image, argument, name)
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def describe_steps(input_config: dict) -> str:
    """Return the steps in words, for a model card."""
    parts = []
    for step in input_config["steps"]:
        ((kind, argument),) = step.items()
        parts.append(
            STEP_DESCRIPTIONS[kind].format(
                *(argument if isinstance(argument, list) else [argument])
            )
        )
    return ", then ".join(parts)


# --- the steps


def _require_size_step(image, size: list[int], name: object):
    """Return an image of the right size; raise DataError for any other."""
    height, width = size
    if image.size != (width, height):
        raise DataError(
            f"{escape(name)} has {image.width} x {image.height} pixels, and the network was "
            f"trained on images of {width} x {height} as they are: bring it to that size first, as "
            "those images were"
        )
    return image


def _stretch_step(image, side: int, _: object):
    """Return an image stretched to a square."""
    from PIL import Image

    return image.resize((side, side), Image.Resampling.BILINEAR)


def _resize_shorter_step(image, side: int, _: object):
    """Return an image whose shorter side is scaled to so many pixels."""
    from PIL import Image

    shorter, longer = sorted(image.size)
    other = int(side * longer / shorter)
    size = (side, other) if image.width <= image.height else (other, side)
    return image.resize(size, Image.Resampling.BILINEAR)


def _center_crop_step(image, side: int, _: object):
    """Return the centre of an image."""
    left, top = (round((length - side) / 2) for length in image.size)
    return image.crop((left, top, left + side, top + side))


def _scale_step(image, side: int, _: object):
    """Return an image scaled to a square as torch does."""
    from PIL import Image

    array = np.asarray(image)
    planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    resized = resize_like_torch(planes, side)
    return Image.fromarray(resized[0] if array.ndim == 2 else resized.transpose(1, 2, 0).copy())


STEP_FUNCTIONS: dict[str, Callable[[Any, Any, object], Any]] = {
    "as_it_is": _require_size_step,
    "stretch": _stretch_step,
    "shorter": _resize_shorter_step,
    "centre": _center_crop_step,
    "scale": _scale_step,
}
STEP_DESCRIPTIONS = {
    "as_it_is": "taken as it is: it has to have {1} x {0} pixels",
    "stretch": "stretched to {0} x {0} (bilinear)",
    "shorter": "the shorter side scaled to {0} (bilinear)",
    "centre": "the centre of {0} x {0} cut out",
    "scale": "scaled to {0} x {0} (bilinear, antialiased, as torch does in float32, then rounded)",
}


# --- scaling as torch does it


def resize_like_torch(image: np.ndarray, side: int) -> np.ndarray:
    """Scale an image (C, H, W) uint8 to (C, side, side) as torch does, without torch.

    It computes `interpolate(mode="bilinear", antialias=True)` in float32: a triangle as wide as the
    scale, along the rows, then along the columns; products are added one after another, and each
    sum is rounded once (a fused multiply-add). PIL sums in float64: the few sums in the middle
    between two levels are then rounded to the other one.
    """
    rows = _resize_axis(image.astype(np.float32), side)
    resized = _resize_axis(rows.swapaxes(1, 2), side).swapaxes(1, 2)
    return resized.round().clip(0, 255).astype(np.uint8)


def _resize_axis(x: np.ndarray, side: int) -> np.ndarray:
    """Scale (C, N, M) float32 along its last axis."""
    resized = np.empty((*x.shape[:-1], side), np.float32)
    for position, (first, weights) in enumerate(_triangle_weights(x.shape[-1], side)):
        total = x[..., first] * weights[0]
        for offset, weight in enumerate(weights[1:].astype(np.float64), 1):
            column = x[..., first + offset].astype(np.float64)
            total = (total + column * weight).astype(np.float32)
        resized[..., position] = total
    return resized


def _triangle_weights(length: int, side: int) -> list[tuple[int, np.ndarray]]:
    """Return the first old pixel of each new one, and the weights of the old ones from there on."""
    single = np.float32
    scale, half = single(length) / single(side), single(0.5)
    reach = max(scale, single(1))
    result = []
    for position in range(side):
        centre = scale * (single(position) + half)
        first = max(int(centre - reach + half), 0)
        last = min(int(centre + reach + half), length)
        distances = np.arange(first, last, dtype=np.float32) - centre + half
        weights = np.maximum(single(0), single(1) - np.abs(distances * (single(1) / reach)))
        total = single(0)
        for weight in weights:
            total += weight
        result.append((first, weights / total))
    return result
