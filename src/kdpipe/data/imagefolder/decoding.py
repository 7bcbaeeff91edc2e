"""Decoding of image files in a fixed list of formats, upright, as grayscale or color.

PIL would choose the format by the content of a file, and one of the formats it knows starts
Ghostscript. The orientation of an image (EXIF) is respected, as viewers do. 16-bit grey keeps its
high byte, as 16-bit color does. A mode whose numbers have no agreed black and white is refused, and
so is transparency: what lies behind it is not known.
"""

import contextlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kdpipe.errors import DataError
from kdpipe.runs.files import open_regular_file
from kdpipe.text import escape

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# The suffixes of files that PIL may decode as one of these formats.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif"),
    *(".webp", ".tif", ".tiff", ".ppm", ".pgm"),
)
MULTIFRAME_FORMATS = ("GIF", "PNG", "TIFF", "WEBP")  # in a JPEG the second image is a preview
ALMOST_BLACK_MAX = 32  # of 255; an image with 12 or 13 of 16 bits has no more
# Those of PIL; its mode of 16-bit grey is I;16, or I for a .pgm.
GRAY_MODES = {"1", "L", "LA"}
COLOR_MODES = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
# What PIL raises for a damaged file; its own errors are OSErrors.
DECODE_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError),
    *(MemoryError, NotImplementedError, struct.error, zlib.error),
)
ORIENTATION, BITS_PER_SAMPLE, PHOTOMETRIC = 274, 258, 262  # tags of EXIF and TIFF
SIDEWAYS_ORIENTATIONS = (5, 6, 7, 8)


class ImageHeader(NamedTuple):
    """What is known of an image before it is decoded.

    Attributes
    ----------
    is_gray : bool
        Whether it has one channel.
    size : tuple of int
        Width and height, once it is upright.
    """

    is_gray: bool
    size: tuple[int, int]  # width, height, upright


@contextlib.contextmanager
def open_image(source, name: object) -> Iterator:
    """Open a PIL image.

    PIL gets an open file and no path: from a path it memory-maps the pixels of an uncompressed
    TIFF, and swaps width and height where it lies on its side (13.0.0). Its warnings, of a large
    image or of damaged EXIF, which viewers pass over too, are not shown.

    Parameters
    ----------
    source : path or file object
        The image file.
    name : object
        What the image is called in messages.

    Raises
    ------
    DataError
        If the file, or what is done with the image in the context, shows that it is damaged or no
        image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with contextlib.ExitStack() as stack:
            is_open = hasattr(source, "read")
            file = source if is_open else stack.enter_context(open_regular_file(source))
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield stack.enter_context(Image.open(file, formats=IMAGE_FORMATS))
    except UnidentifiedImageError:
        reason = f"its format is none of {', '.join(IMAGE_FORMATS)}"
    except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
        reason = str(error).split("<")[0].strip() or repr(error)  # without an address in memory
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
    else:
        return
    raise DataError(f"{escape(name)} cannot be decoded: {escape(reason)}")


def read_header(file) -> ImageHeader:
    """Return the header of an image file; raise DataError if it cannot be converted."""
    with open_image(file, file) as image:
        _check_mode(image, file)
        width, height = image.size
        # The EXIF of a PNG may come after its pixels, and is not known yet then.
        if image.info.get("exif") and image.getexif().get(ORIENTATION) in SIDEWAYS_ORIENTATIONS:
            width, height = height, width
        if image.has_transparency_data:
            _check_opaque(image, file)
        return ImageHeader(image.mode in GRAY_MODES or _is_16bit(image), (width, height))


def convert_image(image, name: object, channels: int):
    """Convert a PIL image to an upright one of mode L or RGB.

    Parameters
    ----------
    image : PIL.Image.Image
        The image.
    name : object
        What the image is called in messages.
    channels : int
        1 or 3.

    Raises
    ------
    DataError
        If it is transparent, or of a mode without agreed black and white.
    """
    from PIL import Image, ImageOps

    _check_mode(image, name)
    if image.has_transparency_data:
        _check_opaque(image, name)
    upright = ImageOps.exif_transpose(image)
    if _is_16bit(image):
        upright = Image.fromarray(_take_high_byte(np.asarray(upright), image))
    return upright.convert("L" if channels == 1 else "RGB")


def is_multiframe(file) -> bool:
    """Return whether a file holds more images than the first one, which is used."""
    with open_image(file, file) as image:
        return image.format in MULTIFRAME_FORMATS and getattr(image, "n_frames", 1) > 1


def read_16bit(file) -> np.ndarray | None:
    """Return the raw pixels of an image that is 16-bit grey; None of any other."""
    with open_image(file, file) as image:
        return np.asarray(image) if _is_16bit(image) else None


def is_almost_black(file) -> bool:
    """Return whether an image is 16-bit grey, and almost black with only its upper eight bits."""
    with open_image(file, file) as image:
        return _is_16bit(image) and bool(
            np.asarray(convert_image(image, file, 1)).max() < ALMOST_BLACK_MAX
        )


def decode_image(file, channels: int, size: tuple[int, int] | None) -> np.ndarray:
    """Decode an image file.

    Parameters
    ----------
    file : path or file object
        The image file.
    channels : int
        1 or 3.
    size : tuple of int or None
        Width and height that the image is stretched to; None: as it is.

    Returns
    -------
    ndarray of shape (C, H, W)
        Pixels, uint8.

    Raises
    ------
    DataError
        If it is damaged or cannot be converted.
    """
    with open_image(file, file) as image:
        return _to_chw_array(convert_image(image, file, channels), size)


def convert_array(pixels: np.ndarray, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Return pixels (1 or 3, H, W) uint8 converted and stretched as those of an image file."""
    from PIL import Image

    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    return _to_chw_array(image.convert("L" if channels == 1 else "RGB"), size)


def _to_chw_array(image, size: tuple[int, int] | None) -> np.ndarray:
    """Return a PIL image of mode L or RGB as (C, H, W)."""
    from PIL import Image

    if size is not None:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _is_16bit(image) -> bool:
    """Return whether a PIL image is 16-bit grey."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")


def _take_high_byte(pixels: np.ndarray, image) -> np.ndarray:
    """Return 16-bit pixels as 8-bit ones."""
    tags = getattr(image, "tag_v2", {})  # a TIFF may have 12 bits, and its white at 0
    high = (pixels.astype(np.uint16) >> (tags.get(BITS_PER_SAMPLE, (16,))[0] - 8)).astype(np.uint8)
    return 255 - high if tags.get(PHOTOMETRIC) == 0 else high


def _check_mode(image, name: object) -> None:
    """Raise DataError for an image of a mode without agreed black and white."""
    if image.mode in GRAY_MODES | COLOR_MODES or (
        _is_16bit(image) and not image.has_transparency_data
    ):
        return
    raise DataError(
        f"{escape(name)} is a {image.format} of mode {image.mode}, whose black and white levels "
        "are undefined: convert it to 8 bits, grayscale or RGB"
    )


def _check_opaque(image, name: object) -> None:
    """Raise DataError for an image with transparent pixels."""
    darkest, _ = image.convert("RGBA").getchannel("A").getextrema()
    if darkest < 255:
        raise DataError(
            f"{escape(name)} is a {image.format} of mode {image.mode} with transparent pixels, "
            "whose background is undefined: flatten it onto a background (ImageMagick: mogrify "
            "-background white -alpha remove)"
        )
