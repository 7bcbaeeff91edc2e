"""Pictures in files: opened by formats that are named, turned upright, made grey or coloured.

PIL would choose the format by what a file holds, and one of those it knows starts Ghostscript. What
a picture says of its position (EXIF) is heeded, as a viewer does. 16-bit grey keeps its high byte,
as 16-bit colour does. A mode whose numbers have no agreed black and white is refused, and so is
transparency: what lies behind it nobody has said.
"""

import contextlib
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kdpipe.errors import DataError
from kdpipe.wording import printable

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# By name, what PIL may decode as any of them.
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
SUFFIXES += (".pgm",)
ANIMATED = ("GIF", "PNG", "TIFF", "WEBP")  # the second picture of a phone's JPEG is a preview
DARK = 32  # of 255: of what has 12 or 13 bits in 16
GREY = {"1", "L", "LA"}  # and 16-bit grey, which PIL calls I;16, or I where it comes of a .pgm
COLOURED = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
# What PIL raises for a damaged file, beside its own errors, which are OSErrors.
DAMAGED = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError)
DAMAGED += (MemoryError, NotImplementedError, struct.error, zlib.error)
ORIENTATION, BITS, PHOTOMETRIC = 274, 258, 262  # tags of EXIF and TIFF
SIDEWAYS = (5, 6, 7, 8)


class Head(NamedTuple):
    """What is known of a picture before it is decoded."""

    grey: bool
    size: tuple[int, int]  # width, height, upright


@contextlib.contextmanager
def opened(source, name: object) -> Iterator:
    """The PIL image in a file. Raises DataError that names it if it is none, or damaged.

    PIL is given what is open, and no path: from a path it maps the pixels of a TIFF that is not
    compressed, and has width and height the wrong way round where it lies on its side (13.0.0).
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with contextlib.ExitStack() as inside:
            file = source if hasattr(source, "read") else inside.enter_context(open(source, "rb"))
            yield inside.enter_context(Image.open(file, formats=FORMATS))
    except UnidentifiedImageError:
        said = f"its content is none of {', '.join(FORMATS)}"
    except (*DAMAGED, Image.DecompressionBombError) as error:
        said = str(error).split("<")[0].strip() or repr(error)  # the rest: an address in memory
    else:
        return
    raise DataError(f"{printable(name)} cannot be read as an image: {printable(said)}")


def head(file) -> Head:
    """Of the picture in a file. Raises DataError if it cannot be converted."""
    with opened(file, file) as image:
        _refuse_mode(image, file)
        width, height = image.size
        # Of a PNG whose EXIF stands behind its pixels nothing is known yet.
        if image.info.get("exif") and image.getexif().get(ORIENTATION) in SIDEWAYS:
            width, height = height, width
        if image.has_transparency_data:
            _refuse_transparent(image, file)
        return Head(image.mode in GREY or _deep(image), (width, height))


def converted(image, name: object, channels: int):
    """A PIL image, upright, as L or RGB. Raises DataError if that would make another of it."""
    from PIL import Image, ImageOps

    _refuse_mode(image, name)
    if image.has_transparency_data:
        _refuse_transparent(image, name)
    upright = ImageOps.exif_transpose(image)
    if _deep(image):
        upright = Image.fromarray(_high_byte(np.asarray(upright), image))
    return upright.convert("L" if channels == 1 else "RGB")


def holds_several(file) -> bool:
    """Whether there are more pictures in a file than the first one, which is taken."""
    with opened(file, file) as image:
        return image.format in ANIMATED and getattr(image, "n_frames", 1) > 1


def deep_pixels(file) -> np.ndarray | None:
    """The pixels of a picture that is grey of 16 bits, as they lie; None of any other."""
    with opened(file, file) as image:
        return np.asarray(image) if _deep(image) else None


def is_dark(file) -> bool:
    """Whether a picture is grey of 16 bits, and nearly black once it has only the upper eight."""
    with opened(file, file) as image:
        return _deep(image) and bool(np.asarray(converted(image, file, 1)).max() < DARK)


def decoded(file, channels: int, size: tuple[int, int] | None) -> np.ndarray:
    """The picture in a file as (C, H, W) uint8, stretched to a `size` (width, height), if given.

    Raises DataError.
    """
    with opened(file, file) as image:
        return _stretched(converted(image, file, channels), size)


def brought(pixels: np.ndarray, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Pixels (1 or 3, H, W) uint8 made grey or coloured and stretched, as a picture would be."""
    from PIL import Image

    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    return _stretched(image.convert("L" if channels == 1 else "RGB"), size)


def _stretched(image, size: tuple[int, int] | None) -> np.ndarray:
    """A PIL image of mode L or RGB as (C, H, W)."""
    from PIL import Image

    if size is not None:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _deep(image) -> bool:
    """Whether it is grey of 16 bits."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")


def _high_byte(pixels: np.ndarray, image) -> np.ndarray:
    tags = getattr(image, "tag_v2", {})  # a TIFF may have 12 bits, and its white at 0
    high = (pixels.astype(np.uint16) >> (tags.get(BITS, (16,))[0] - 8)).astype(np.uint8)
    return 255 - high if tags.get(PHOTOMETRIC) == 0 else high


def _refuse_mode(image, name: object) -> None:
    if image.mode in GREY | COLOURED or (_deep(image) and not image.has_transparency_data):
        return
    raise DataError(
        f"{printable(name)} is a {image.format} of mode {image.mode}, which says not what is black "
        "and what is white: save it in 8 bits, grey or RGB"
    )


def _refuse_transparent(image, name: object) -> None:
    darkest, _ = image.convert("RGBA").getchannel("A").getextrema()
    if darkest < 255:
        raise DataError(
            f"{printable(name)} is a {image.format} of mode {image.mode} with transparent pixels, "
            "and nobody says what lies behind them: save it on a background (ImageMagick: mogrify "
            "-background white -alpha remove)"
        )
