"""Compare what somebody's own preprocessing made of images with what an export makes of them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdpipe.errors import DataError, KdpipeError
from kdpipe.export.classifier import Classifier
from kdpipe.runs.files import READ_ERRORS, read_regular_file
from kdpipe.text import MAX_LINE_LENGTH, escape, format_count, format_value

MAX_HEADER_BYTES = 2**16  # of a .npy
MAX_LEVELS = 1  # of 255, by which pixels may differ: rounding


def load_pixels(path: Path, classify: Classifier, count: int) -> np.ndarray:
    """Load the pixels of images from a .npy.

    Parameters
    ----------
    path : Path
        An array (N, C, H, W) or (N, H, W, C), or one image without N: uint8 from 0 to 255, or
        normalized floats, as a network without its normalization takes them.
    classify : Classifier
        The classifier of the export.
    count : int
        Number of images.

    Returns
    -------
    ndarray of shape (N, C, H, W)
        Float64, from 0 to 255.

    Raises
    ------
    KdpipeError
        If the file is no such array.
    """
    input_config = classify.config["input"]
    shape = tuple(input_config[key] for key in ("channels", "height", "width"))
    max_bytes = 8 * count * int(np.prod(shape)) + MAX_HEADER_BYTES
    try:
        content = io.BytesIO(read_regular_file(path, max_bytes))
        # np.load would open a .npz, and tell how to load a pickle.
        array = np.lib.format.read_array(content, allow_pickle=False)
    except (*READ_ERRORS, EOFError) as error:
        reason = escape(str(error).partition("\n")[0][:MAX_LINE_LENGTH])
        raise KdpipeError(
            f"--check {escape(path)}: not a .npy, as numpy.save writes it, with the pixels of "
            f"{format_count(count, 'image')} of {shape} ({reason})"
        ) from None
    array = array[None] if array.ndim == 3 else array
    if array.ndim == 4 and array.shape[1:] == (*shape[1:], shape[0]) != shape:
        array = array.transpose(0, 3, 1, 2)
    kind = "a structure" if array.dtype.names else escape(array.dtype)
    is_float = np.issubdtype(array.dtype, np.floating)
    if array.shape != (count, *shape) or not (is_float or array.dtype == np.uint8):
        raise KdpipeError(
            f"--check {escape(path)}: {kind} of shape {format_value(array.shape)}, expected "
            f"{(count, *shape)}, uint8, or floats normalized by mean "
            f"{format_value(input_config['mean'])} and std {format_value(input_config['std'])}"
        )
    if not is_float:
        return array.astype(np.float64)
    mean, std = (np.array(input_config[key])[:, None, None] for key in ("mean", "std"))
    with np.errstate(over="ignore"):  # an infinite number is refused
        return 255 * (array.astype(np.float64) * std + mean)


def compare_pixels(
    classify: Classifier, images: Sequence[Path], path: Path
) -> tuple[list[str], bool]:
    """Compare the pixels in a .npy with those that the export makes of images.

    Parameters
    ----------
    classify : Classifier
        The classifier of the export.
    images : sequence of Path
        The image files, in the order of the array.
    path : Path
        The .npy, see `load_pixels`.

    Returns
    -------
    lines : list of str
        One for each image that differs, and a summary.
    agrees : bool
        Whether every pixel is the same but for rounding, and every class.

    Raises
    ------
    KdpipeError
        If an image or the array cannot be used.
    """
    theirs = load_pixels(path, classify, len(images))
    if not np.isfinite(theirs).all():
        raise DataError(f"--check {escape(path)}: it has numbers that are not finite")
    ours = np.stack([classify.preprocess(image) for image in images])
    rounded = theirs.round().clip(0, 255).astype(np.uint8)
    their_logits, our_logits = (classify.logits_from_pixels(array) for array in (rounded, ours))
    gaps = np.abs(theirs - ours).max((1, 2, 3))
    lines, other_classes = [], 0
    for image, gap, a, b in zip(images, gaps, our_logits, their_logits, strict=True):
        names = [classify.classes[int(logits.argmax())] for logits in (a, b)]
        other_classes += names[0] != names[1]
        if gap >= MAX_LEVELS + 0.5 or names[0] != names[1]:
            change = f"{names[1]} in place of {names[0]}" if names[0] != names[1] else "same class"
            lines.append(f"{escape(image)}: {gap:.0f} of 255 levels apart, {escape(change)}")
    if not lines:
        return [f"{escape(path)} agrees: all pixels within {gaps.max():.2g} of 255 levels"], True
    lines.append(
        f"{escape(path)} does not agree: {len(lines):,} of {len(images):,} images differ, by up "
        f"to {gaps.max():.0f} of 255 levels, and {other_classes:,} get another class; the steps "
        "of the export are under Input in its README.md"
    )
    return lines, False
