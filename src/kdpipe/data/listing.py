"""Listings: images that stay in their files, because all of them do not fit one array.

A data set whose card says `made: {"stream": SIDE}` is prepared by listing its files once: path
below the folder, size in bytes, label. Training then reads the files themselves (`streams`). What
is verified: that every file is there under its name and has its size, and for a known set the
number of images in each part and of classes. What is not: the pixels. Nobody reads 140 GB for a
checksum, so a file that was exchanged for another of the same length is not found out.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdpipe.data import cards
from kdpipe.data.arrays import PARTS, Arrays
from kdpipe.data.cards import Card
from kdpipe.data.own import folders
from kdpipe.errors import DataError

KINDS = ("paths", "sizes", "labels")
NAMES = (*(f"{part}_{kind}" for part in PARTS for kind in KINDS), "shape")
WORDNET = re.compile(r"n[0-9]{8}")  # how ImageNet names a class
TARS = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


@dataclass(frozen=True)
class Files:
    """Images of a split: `chosen` (N,) of a part's listing, whose paths are seen from `root`.

    `shape` (channels, side, side) is what a network gets of each.
    """

    listing: Path
    part: str
    chosen: np.ndarray
    root: Path
    shape: tuple[int, int, int]

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
    known = card.name in cards.known()
    if known:
        _refuse_packed(card, path)
    files, labels = folders.listed(path, card.made.get("test_share"))
    arrays = of(path, files, labels, card.shape)
    if known:
        _compare(card, path, files, arrays)
    return arrays


def of(
    path: Path,
    files: dict[str, list[Path]],
    labels: dict[str, np.ndarray],
    shape: tuple[int, int, int],
) -> Arrays:
    """paths (N,) bytes, sizes (N,) and labels (N,) int64 of each part, and what is made of each.

    The same files cropped to another side are other images: `shape` is part of the digest.
    """
    arrays: Arrays = {"shape": np.array(shape)}
    for part in PARTS:
        below = [os.fsencode(file.relative_to(path)) for file in files[part]]
        arrays[f"{part}_paths"] = np.array(below, dtype=np.bytes_)
        sizes = [file.stat().st_size for file in files[part]]
        arrays[f"{part}_sizes"] = np.array(sizes, np.int64)
        arrays[f"{part}_labels"] = labels[part]
    return arrays


def _refuse_packed(card: Card, path: Path) -> None:
    """Say how the published archives of ImageNet become folders of classes."""
    for part, tar in zip(("train", "val"), TARS, strict=True):
        loose = (path / part).is_dir() and not any(p.is_dir() for p in (path / part).iterdir())
        if (path / part).is_dir() and not loose:
            continue
        if (path / tar).is_file():
            instead = "remove that folder, then " if loose else ""
            raise DataError(
                f"data set {card.name}: {path / part} holds no folders of classes, but {tar} lies "
                f"beside it. Unpack it once (torchvision does, with the devkit's tar in the same "
                f"folder, and compares MD5 sums; 140 GB for train): {instead}python -c "
                f"\"from torchvision.datasets import ImageNet; ImageNet('{path}', '{part}')\""
            )
        raise DataError(
            f"data set {card.name}: {path / part} holds no folders of classes; expected are "
            f"{path}/train/n01440764/*.JPEG and {path}/val/n01440764/*.JPEG, or the published "
            f"{' and '.join(TARS)}, which torchvision.datasets.ImageNet unpacks"
        )


def _compare(card: Card, path: Path, files: dict[str, list[Path]], arrays: Arrays) -> None:
    mistakes = []
    for part, count in (("train", card.train), ("test", card.test)):
        found = len(arrays[f"{part}_labels"])
        if found != count:
            folder = path / ("train" if part == "train" else "val")
            mistakes.append(f"{folder} holds {found:,} images, expected {count:,}")
    classes = sorted({file.relative_to(path).parts[1] for file in files["train"]})
    if len(classes) != card.classes:
        mistakes.append(f"{path / 'train'} holds {len(classes):,} classes, not {card.classes:,}")
    odd = [name for name in classes if not WORDNET.fullmatch(name)]
    if odd:
        mistakes.append(f"{path / 'train' / odd[0]} is not named like a class (n01440764)")
    empty = np.flatnonzero(arrays["train_sizes"] == 0)
    mistakes += [f"{files['train'][index]} is empty" for index in empty]
    folders.refuse(mistakes, path)
