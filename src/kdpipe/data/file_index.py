"""File indices of data sets that stream: their images do not fit into one array.

A data set whose card says `made: {"stream": SIDE}` is prepared by indexing its files once: path
below the folder, size in bytes, label. Training then reads the files themselves (`streaming`).
Verified is that every file is there under its name and has its size, and for a known data set the
number of images of each part and of classes. Not verified are the pixels: nobody reads 140 GB for a
checksum, so that a file that was replaced by another of the same length goes unnoticed.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdpipe.data import cards
from kdpipe.data.arrays import PARTS, VAL, Arrays
from kdpipe.data.cards import DatasetCard
from kdpipe.data.imagefolder import class_folders
from kdpipe.errors import DataError

INDEX_KINDS = ("paths", "sizes", "labels")
INDEX_NAMES = (*(f"{part}_{kind}" for part in PARTS for kind in INDEX_KINDS), "shape")
VAL_INDEX_NAMES = tuple(f"{VAL}_{kind}" for kind in INDEX_KINDS)


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a part of a split.

    Attributes
    ----------
    index_dir : Path
        The folder of the file index.
    part : str
        The part of the data set that is indexed.
    indices : ndarray of shape (N,)
        Which images of that part.
    root : Path
        The folder that the paths of the index are relative to.
    shape : tuple of int
        Channels, height and width of what a network gets of each image.
    is_custom : bool
        Whether the images are converted as those of custom data (`decoding`), or by PIL alone, as
        the revision of a known data set has it.
    """

    index_dir: Path
    part: str
    indices: np.ndarray
    root: Path
    shape: tuple[int, int, int]
    is_custom: bool

    def __len__(self) -> int:
        return len(self.indices)

    def open_index(self) -> tuple[np.ndarray, np.ndarray]:
        """Return paths and sizes of the whole part, memory-mapped, so that workers copy nothing."""
        paths, sizes = (
            np.load(self.index_dir / f"{self.part}_{kind}.npy", mmap_mode="r")
            for kind in ("paths", "sizes")
        )
        return paths, sizes


def read_index(card: DatasetCard, path: Path | None) -> Arrays:
    """Return the file index of a streamed data set.

    Parameters
    ----------
    card : DatasetCard
        The card of the data set.
    path : Path or None
        The folder of its images.

    Returns
    -------
    dict of str to ndarray
        The arrays `INDEX_NAMES`, and `VAL_INDEX_NAMES` where validation is a part of its own.

    Raises
    ------
    DataError
        If there is no such folder, or it does not match the card.
    """
    if path is None or not path.is_dir():
        reason = f"there is no folder {path}" if path else "it is not downloaded"
        raise DataError(
            f"data set {card.name}: {reason}: name the folder that holds its files in the study, "
            "as data.path"
        )
    if card.name in cards.list_datasets():
        dataset = cards.get_dataset(card.name)
        assert dataset.index_folder is not None
        return dataset.index_folder(card, path)
    listing = class_folders.list_images(path, card.made)
    return build_index(path, listing.files, listing.labels, card.shape)


def build_index(
    path: Path,
    files: dict[str, list[Path]],
    labels: dict[str, np.ndarray],
    shape: tuple[int, int, int],
) -> Arrays:
    """Build the file index of images in a folder.

    The same files cropped to another side are other images: `shape` is part of the digest.

    Parameters
    ----------
    path : Path
        The folder that all files are below.
    files : dict of str to list of Path
        The files of each part.
    labels : dict of str to ndarray
        The label of each file, of the parts that have labels.
    shape : tuple of int
        Channels, height and width of what a network gets of each image.

    Returns
    -------
    dict of str to ndarray
        Of each part `<part>_paths` (bytes), `<part>_sizes` and `<part>_labels` (int64), and
        `shape`.
    """
    arrays: Arrays = {"shape": np.array(shape)}
    for part in files:
        relative_paths = [os.fsencode(file.relative_to(path)) for file in files[part]]
        arrays[f"{part}_paths"] = np.array(relative_paths, dtype=np.bytes_)
        sizes = [file.stat().st_size for file in files[part]]
        arrays[f"{part}_sizes"] = np.array(sizes, np.int64)
        if part in labels:
            arrays[f"{part}_labels"] = labels[part]
    return arrays
