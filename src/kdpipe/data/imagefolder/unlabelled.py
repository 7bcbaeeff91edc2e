"""Unlabelled images: read, prepared like a data set, and verified whenever they are loaded.

They lie in a folder, at any depth, or are the one array of a .npz. They are converted as those of a
custom data set, and stretched to the size of the images of the data set that they are for. Where
that streams, they stay in their files and are indexed.

`prepare_unlabelled` writes `results/data/unlabelled-<12 hex>/`: the array (N, C, H, W) uint8, or
the file index, and last the card. A job finds them by the digest in its spec.
"""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdpipe import hashing
from kdpipe.data import cache
from kdpipe.data.arrays import Arrays, hash_arrays
from kdpipe.data.cache import format_repair_hint, memmap_array, read_notes
from kdpipe.data.cards import MAX_ARRAY_BYTES
from kdpipe.data.imagefolder import class_folders, decoding, reader
from kdpipe.data.imagefolder.class_folders import raise_errors
from kdpipe.data.imagefolder.unlabelled_card import (
    CARD_KIND,
    UnlabelledCard,
    format_unlabelled_folder,
    seal_unlabelled_card,
)
from kdpipe.errors import DataError
from kdpipe.runs import store
from kdpipe.runs.files import write_json, write_npy
from kdpipe.runs.ownership import CARD_FILE
from kdpipe.text import escape, format_write_command

PART = "unlabelled"
ARRAY_NAMES = (f"{PART}_images",)
INDEX_NAMES = (f"{PART}_paths", f"{PART}_sizes", "shape")
SUBJECT = "unlabelled images"  # what they are called in messages
ImageShape = tuple[int, int, int]  # channels, height, width


class UnlabelledImages(NamedTuple):
    """Unlabelled images that were read.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The arrays of `list_unlabelled_arrays`.
    names : list of str
        The name of each image for messages.
    notes : iterable of str
        What the user should know of them; files are opened for it when it is iterated.
    """

    arrays: Arrays
    names: list[str]
    notes: Iterable[str]


def list_unlabelled_arrays(stream: bool) -> tuple[str, ...]:
    """Return the names of the arrays of unlabelled images, or of their file index."""
    return INDEX_NAMES if stream else ARRAY_NAMES


def read_unlabelled(path: Path, shape: ImageShape, stream: bool) -> UnlabelledImages:
    """Read the unlabelled images in a folder or .npz file.

    Parameters
    ----------
    path : Path
        The folder or .npz file.
    shape : tuple of int
        Channels, height and width that the images are brought to.
    stream : bool
        Whether they stay in their files and are indexed.

    Raises
    ------
    DataError
        With every error in the images.
    """
    if path.is_file() and not stream:
        return _read_npz(path, shape)
    if not path.is_dir():
        reason = "must be a folder, since the data set is streamed" if path.is_file() else ""
        raise DataError(f"{path}: {reason or 'there is no such folder or .npz file'}")
    reader.check_formats(path, decode=not stream)
    files = class_folders.find_images(path)
    if not files:
        raise DataError(f"{path}: contains no images ({', '.join(decoding.IMAGE_SUFFIXES)})")
    headers, errors = class_folders.read_headers(files)
    raise_errors(errors, path)
    names = [escape(file.relative_to(path)) for file in files]
    notes = chain(
        reader.find_decoding_warnings(path, files),
        reader.find_skipped_warnings(path, {PART: files}),
    )
    if stream:
        index_arrays = cache.build_index(path, {PART: files}, {}, shape)
        return UnlabelledImages({name: index_arrays[name] for name in INDEX_NAMES}, names, notes)
    channels, height, width = shape
    images = _allocate_images(path, len(files), shape)
    for index, file in enumerate(files):
        try:
            images[index] = decoding.decode_image(file, channels, (width, height))
        except DataError as error:
            errors.append(str(error))
    raise_errors(errors, path)
    stretched = sum(header.size != (width, height) for header in headers)
    colored = sum(not header.is_gray for header in headers)
    return UnlabelledImages(
        {ARRAY_NAMES[0]: images}, names, chain(_conversion_notes(shape, stretched, colored), notes)
    )


def _read_npz(path: Path, shape: ImageShape) -> UnlabelledImages:
    """Return the images in a .npz file."""
    contents = reader.load_npz(path)
    if len(contents) != 1:
        raise DataError(
            f"{path}: must contain exactly one array, the images; it has "
            f"{', '.join(contents) or 'none'}"
        )
    ((key, pixels),) = contents.items()
    raise_errors(reader.validate_images(escape(key), pixels), path)
    pixels = reader.to_nchw(pixels)
    names = [f"image {index}" for index in range(len(pixels))]
    if pixels.shape[1:] == shape:
        return UnlabelledImages({ARRAY_NAMES[0]: pixels}, names, [])
    channels, height, width = shape
    images = _allocate_images(path, len(pixels), shape)
    for index, image in enumerate(pixels):
        images[index] = decoding.convert_array(image, channels, (width, height))
    stretched = len(pixels) if pixels.shape[2:] != shape[1:] else 0
    colored = len(pixels) if pixels.shape[1] == 3 else 0
    return UnlabelledImages(
        {ARRAY_NAMES[0]: images}, names, _conversion_notes(shape, stretched, colored)
    )


def _allocate_images(path: Path, count: int, shape: ImageShape) -> np.ndarray:
    """Return an array for so many images; raise DataError if it would be too large."""
    if count * np.prod(shape, dtype=float) > MAX_ARRAY_BYTES:
        raise DataError(f"{path}: {count:,} images of {shape} are too many for one array")
    return np.empty((count, *shape), np.uint8)


def _conversion_notes(shape: ImageShape, stretched: int, colored: int) -> list[str]:
    """Return what was done to images of another size or color."""
    channels, height, width = shape
    notes = []
    if stretched:
        notes.append(
            f"note: {stretched:,} have another size and are stretched to {width} x {height}"
        )
    if colored and channels == 1:
        notes.append(f"note: {colored:,} are color images and are converted to grayscale")
    return notes


# --- prepared images


def prepare_unlabelled(card: UnlabelledCard, path: Path, results_store: store.Store) -> Path:
    """Write the arrays of unlabelled images into a results folder.

    Parameters
    ----------
    card : UnlabelledCard
        Their card.
    path : Path
        Their folder or .npz file.
    results_store : Store
        The results folder to write into.

    Returns
    -------
    Path
        The card file of the prepared images.

    Raises
    ------
    DataError
        If the images do not match the card.
    """
    folder, names = results_store.data(card.folder), list_unlabelled_arrays(card.stream)
    with store.lock_run_folder(folder):
        arrays = read_unlabelled(path, card.shape, card.stream).arrays
        if (actual := hash_arrays(arrays, names)) != card.sha256:
            raise DataError(
                f"the images in {path} do not match their card (sha256 {actual[:12]}, expected "
                f"{card.sha256[:12]}): recreate it: {format_write_command()}"
            )
        for name in names:
            write_npy(folder / f"{name}.npy", arrays[name])
        content = seal_unlabelled_card(card) | (
            {"root": str(path.absolute())} if card.stream else {}
        )
        write_json(folder / CARD_FILE, hashing.add_checksum(content))
    return folder / CARD_FILE


def load_unlabelled_images(
    sha256: str, shape: ImageShape, stream: bool, results_store: store.Store
) -> np.ndarray | cache.ImageFiles:
    """Load prepared unlabelled images, verified.

    Parameters
    ----------
    sha256 : str
        Their digest.
    shape : tuple of int
        Channels, height and width of what a network gets of each, where they stream.
    stream : bool
        Whether they stay in their files.
    results_store : Store
        The results folder that has them.

    Returns
    -------
    ndarray of shape (N, C, H, W) or ImageFiles

    Raises
    ------
    DataError
        If the images are missing or damaged.
    """
    folder = results_store.data(format_unlabelled_folder(sha256))
    count = _verify_count(folder, sha256, stream)
    if not stream:
        return memmap_array(SUBJECT, list_unlabelled_arrays(stream)[0], folder)
    root = Path(str(read_notes(folder).get("root")))
    if not root.is_dir():
        raise DataError(
            f"the folder {root} of the {SUBJECT} no longer exists: restore it, or "
            f"{format_repair_hint(folder)}"
        )
    return cache.ImageFiles(folder, PART, np.arange(count), root, shape, is_custom=True)


def validate_unlabelled(folder: Path) -> str | None:
    """Return what is wrong with a folder of prepared unlabelled images; None if nothing is."""
    notes = read_notes(folder)
    sha256 = str(notes.get("sha256"))
    if notes != hashing.add_checksum(notes) or format_unlabelled_folder(sha256) != folder.name:
        return (
            f"{folder / CARD_FILE}: not the card of the data in its folder: "
            f"{format_repair_hint(folder)}"
        )
    try:
        _verify_count(folder, sha256, bool(notes.get("stream")))
    except DataError as error:
        return str(error)
    return None


def is_unlabelled(folder: Path) -> bool:
    """Return whether a folder of prepared data holds unlabelled images."""
    return read_notes(folder).get("kind") == CARD_KIND


def _verify_count(folder: Path, sha256: str, stream: bool) -> int:
    """Return the number of images in a folder; raise DataError if they have another digest."""
    names = list_unlabelled_arrays(stream)
    arrays = {name: memmap_array(SUBJECT, name, folder) for name in names}
    if hash_arrays(arrays, names) != sha256:
        raise DataError(
            f"{SUBJECT}: the arrays in {folder} have changed: {format_repair_hint(folder)}"
        )
    return len(arrays[names[0]])
