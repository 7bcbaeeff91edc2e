"""Listings: images that stay in their files, because all of them do not fit one array.

A data set whose card says `made: {"stream": SIDE}` is prepared by listing its files once: path
below the folder, size in bytes, label. Training then reads the files themselves (`streams`). What
is verified: that every file is there under its name and has its size, and for a known set the
number of images in each part and of classes. What is not: the pixels. Nobody reads 140 GB for a
checksum, so a file that was exchanged for another of the same length is not found out.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdpipe.data import cards
from kdpipe.data.arrays import PARTS, VAL, Arrays
from kdpipe.data.cards import Card
from kdpipe.data.own import folders
from kdpipe.errors import DataError

KINDS = ("paths", "sizes", "labels")
NAMES = (*(f"{part}_{kind}" for part in PARTS for kind in KINDS), "shape")
VAL_NAMES = tuple(f"{VAL}_{kind}" for kind in KINDS)


@dataclass(frozen=True)
class Files:
    """Images of a split: `chosen` (N,) of a part's listing, whose paths are seen from `root`.

    `shape` (channels, side, side) is what a network gets of each. Those of one's `own` are
    converted as `pictures` says; those of a known set as its revision says, by PIL alone.
    """

    listing: Path
    part: str
    chosen: np.ndarray
    root: Path
    shape: tuple[int, int, int]
    own: bool

    def __len__(self) -> int:
        return len(self.chosen)

    def opened(self) -> tuple[np.ndarray, np.ndarray]:
        """Paths and sizes of the whole part, mapped from disk: a worker holds no copy of them."""
        paths, sizes = (
            np.load(self.listing / f"{self.part}_{kind}.npy", mmap_mode="r")
            for kind in ("paths", "sizes")
        )
        return paths, sizes


def read(card: Card, path: Path | None) -> Arrays:
    """The listing of a streamed data set. Raises DataError if it is not what the card says."""
    if path is None or not path.is_dir():
        where = f"there is no folder {path}" if path else "it is not downloaded"
        raise DataError(
            f"data set {card.name}: {where}: name the folder that holds its files in the study, "
            "as data.path"
        )
    if card.name in cards.known():
        known = cards.set_of(card.name)
        assert known.listed is not None
        return known.listed(card, path)
    found = folders.listed(path, card.made)
    return of(path, found.files, found.labels, card.shape)


def of(
    path: Path,
    files: dict[str, list[Path]],
    labels: dict[str, np.ndarray],
    shape: tuple[int, int, int],
) -> Arrays:
    """paths (N,) bytes, sizes (N,) and labels (N,) int64 of each part, and what is made of each.

    A part without labels has none.
    The same files cropped to another side are other images: `shape` is part of the digest.
    """
    arrays: Arrays = {"shape": np.array(shape)}
    for part in files:
        below = [os.fsencode(file.relative_to(path)) for file in files[part]]
        arrays[f"{part}_paths"] = np.array(below, dtype=np.bytes_)
        sizes = [file.stat().st_size for file in files[part]]
        arrays[f"{part}_sizes"] = np.array(sizes, np.int64)
        if part in labels:
            arrays[f"{part}_labels"] = labels[part]
    return arrays
