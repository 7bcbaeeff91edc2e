"""Images without labels, read and brought to the shape of a data set's; or listed, to stream.

They lie in a folder, at any depth, or are the one array of a .npz. What a picture may be, and how
it is turned upright, made grey or coloured, is as for data of one's own; one of another size is
stretched.
"""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdpipe.data import listing
from kdpipe.data.arrays import Arrays
from kdpipe.data.cards import MAX_BYTES
from kdpipe.data.own import folders, pictures, reader, remarks
from kdpipe.data.own.folders import refuse
from kdpipe.errors import DataError
from kdpipe.wording import printable

PART = "unlabelled"
ARRAY = (f"{PART}_images",)
LISTING = (f"{PART}_paths", f"{PART}_sizes", "shape")

Shape = tuple[int, int, int]  # channels, height, width


class Read(NamedTuple):
    """The arrays of `names_of`; of each image what a message calls it; and what is worth a word.

    That is looked for when it is asked for: files are opened for it once more.
    """

    arrays: Arrays
    names: list[str]
    notes: Iterable[str]


def names_of(stream: bool) -> tuple[str, ...]:
    """The arrays that the images are, or their listing."""
    return LISTING if stream else ARRAY


def read(path: Path, shape: Shape, stream: bool) -> Read:
    """The images below `path` as (N, *shape) uint8, or their listing.

    Raises DataError with every mistake.
    """
    if path.is_file() and not stream:
        return _of_npz(path, shape)
    if not path.is_dir():
        what = "a folder is wanted, since the data stream from files" if path.is_file() else ""
        raise DataError(f"{path}: {what or 'there is no such folder or .npz file'}")
    remarks.refuse_unread(path, decode=not stream)
    files = folders.pictures_in(path)
    if not files:
        raise DataError(f"{path}: no image in it ({', '.join(pictures.SUFFIXES)})")
    heads, mistakes = folders.heads(files)
    refuse(mistakes, path)
    names = [printable(file.relative_to(path)) for file in files]
    notes = chain(remarks.of_pictures(path, files), remarks.of_passed_over(path, {PART: files}))
    if stream:
        found = listing.of(path, {PART: files}, {}, shape)
        return Read({name: found[name] for name in LISTING}, names, notes)
    channels, height, width = shape
    images = _empty(path, len(files), shape)
    for index, file in enumerate(files):
        try:
            images[index] = pictures.decoded(file, channels, (width, height))
        except DataError as error:
            mistakes.append(str(error))
    refuse(mistakes, path)
    stretched = sum(head.size != (width, height) for head in heads)
    coloured = sum(not head.grey for head in heads)
    return Read({ARRAY[0]: images}, names, chain(_brought(shape, stretched, coloured), notes))


def _of_npz(path: Path, shape: Shape) -> Read:
    held = reader.unpacked(path)
    if len(held) != 1:
        raise DataError(
            f"{path}: one array is wanted, the images alone; it has {', '.join(held) or 'none'}"
        )
    ((key, pixels),) = held.items()
    refuse(reader.faults_of_images(printable(key), pixels), path)
    pixels = reader.channels_first(pixels)
    names = [f"image {index}" for index in range(len(pixels))]
    if pixels.shape[1:] == shape:
        return Read({ARRAY[0]: pixels}, names, [])
    channels, height, width = shape
    images = _empty(path, len(pixels), shape)
    for index, image in enumerate(pixels):
        images[index] = pictures.brought(image, channels, (width, height))
    stretched = len(pixels) if pixels.shape[2:] != shape[1:] else 0
    coloured = len(pixels) if pixels.shape[1] == 3 else 0
    return Read({ARRAY[0]: images}, names, _brought(shape, stretched, coloured))


def _empty(path: Path, count: int, shape: Shape) -> np.ndarray:
    if count * np.prod(shape, dtype=float) > MAX_BYTES:
        raise DataError(f"{path}: {count:,} images of {shape} are too many for one array")
    return np.empty((count, *shape), np.uint8)


def _brought(shape: Shape, stretched: int, coloured: int) -> list[str]:
    """What was done to images that were of another kind."""
    channels, height, width = shape
    notes = []
    if stretched:
        notes.append(
            f"note: {stretched:,} are of another size and are stretched to {width} x {height}"
        )
    if coloured and channels == 1:
        notes.append(f"note: {coloured:,} are coloured and are made grey")
    return notes
