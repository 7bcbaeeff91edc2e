"""A folder of classes made into plain arrays: every image decoded once, scaled, and in one array.

    PATH/train/CLASS/*.jpg, PATH/test/CLASS/*.jpg    classes by name; PATH/val/CLASS as it is said
    PATH/CLASS/*.jpg                                 with a share of each class held out as test

Labels are the places of the classes in alphabetical order. An image that is not square is
stretched to the square that `resize` asks for. Mistakes are said by file, all of them at once.
"""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdpipe.data.arrays import PARTS, VAL, Arrays
from kdpipe.data.cards import MAX_BYTES
from kdpipe.data.own import hold_out, pictures
from kdpipe.data.own.pictures import Head
from kdpipe.errors import DataError
from kdpipe.wording import printable

Names = dict[str, list[str]]  # of each image of a part, as a message calls it
SHOWN = 20  # mistakes


def read(path: Path, made: dict) -> tuple[Arrays, Names]:
    """The arrays of a folder, and the file of each image; `made` says how (`Card.made`).

    Raises DataError with every mistake.
    """
    files, labels, _ = listed(path, made)
    every = [file for part in files for file in files[part]]
    first, mistakes = heads(every)
    if mistakes:
        refuse(unusable(every), path)  # those too that are found out only by decoding
    side, channels = made["resize"], made["channels"]
    if channels is None:
        channels = channels_of(first)
    sizes = [head.size for head in first]
    if side is None and len(set(sizes)) > 1:
        other = next(index for index, size in enumerate(sizes) if size != sizes[0])
        two = (
            f"{printable(every[index].relative_to(path))} is {sizes[index][0]} x {sizes[index][1]}"
            for index in (0, other)
        )
        raise DataError(
            f"{path}: images of {len(set(sizes)):,} sizes ({', '.join(two)}): give --resize, which "
            "scales each to a square, or --stream, which crops"
        )
    width, height = (side, side) if side else sizes[0]
    arrays: Arrays = {}
    for part in files:
        shape = (len(files[part]), channels, height, width)
        if np.prod(shape, dtype=float) > MAX_BYTES:
            raise DataError(
                f"{path}: {shape} pixels are too many for one array: give --resize, or "
                "--stream, which leaves them in their files"
            )
        images = np.empty(shape, np.uint8)
        for index, file in enumerate(files[part]):
            try:
                pixels = pictures.decoded(file, channels, side and (side, side))
            except DataError as error:
                mistakes.append(str(error))
                continue
            if pixels.shape != images[index].shape:  # its EXIF stood behind its pixels
                mistakes.append(
                    f"{file} is {pixels.shape[2]} x {pixels.shape[1]} once it is upright"
                )
                continue
            images[index] = pixels
        arrays |= {f"{part}_images": images, f"{part}_labels": labels[part]}
    refuse(mistakes, path)
    return arrays, {part: [str(file) for file in files[part]] for part in files}


def refuse(mistakes: list[str], path: Path) -> None:
    """Raise one DataError for all mistakes, if there are any."""
    if mistakes:
        plural = "s" * (len(mistakes) > 1)
        lines = [f"{path}: {len(mistakes)} mistake{plural}", *mistakes[:SHOWN]]
        if len(mistakes) > SHOWN:
            lines.append(f"and {len(mistakes) - SHOWN:,} more")
        raise DataError("\n  ".join(map(printable, lines)))


class Found(NamedTuple):
    """The image files of each part in a fixed order, their labels, and the names of the classes."""

    files: dict[str, list[Path]]
    labels: dict[str, np.ndarray]
    classes: list[str]


def listed(path: Path, made: Mapping = {}) -> Found:
    """What lies in a folder, as `made` says (`Card.made`): which folder is which part, what is val,
    and whether a share of train is held out as test. Raises DataError with every mistake.
    """
    by_part, classes = _by_part(path, made)
    files = {
        part: [file for each in by_class for file in each] for part, by_class in by_part.items()
    }
    labels = {part: _labels(by_class) for part, by_class in by_part.items()}
    if (share := made.get("test_share")) is not None:
        train = by_part["train"]
        few = [
            (name, len(each)) for name, each in zip(classes, train, strict=True) if len(each) < 2
        ]
        where = path / _folders(made)["train"] if len(by_part) > 1 else path
        refuse(
            [f"{where / name}: {n} image(s), too few for training and test" for name, n in few],
            path,
        )
        drawn = hold_out.of_each if made.get("draw") == "share" else hold_out.equally
        held = drawn(train, share)
        for part, chosen in (("test", held), ("train", ~held)):
            every, labelled = [file for each in train for file in each], _labels(train)
            files[part] = [every[index] for index in np.flatnonzero(chosen)]
            labels[part] = labelled[chosen]
    return Found(files, labels, classes)


def every(path: Path, made: Mapping) -> list[Path]:
    """All images of a folder, whatever part they are in. Raises DataError with every mistake."""
    by_part, _ = _by_part(path, made)
    return [file for by_class in by_part.values() for each in by_class for file in each]


def pictures_in(path: Path) -> list[Path]:
    """All images below a folder, at any depth. Raises DataError for what would be lost."""
    (files,) = _by_class(path, [""])
    return files


def _by_part(path: Path, made: Mapping) -> tuple[dict[str, list[list[Path]]], list[str]]:
    """The images of each class of each part that has a folder; and the names of the classes.

    Without folders of parts all are train: a test set is held out of it.
    """
    refuse_lost(path)
    places = {part: path / name for part, name in _folders(made).items()}
    share = made.get("test_share")
    if not (places["train"].is_dir() and (places["test"].is_dir() or places["val"].is_dir())):
        names = classes_in(path)
        if share is None or "train" in names:
            raise DataError(
                f"{path}: expected PATH/train/CLASS/ and PATH/test/CLASS/ (or val); where it has "
                "only PATH/CLASS/, give --test-share 0.2"
            )
        return {"train": _by_class(path, names)}, names
    if made.get("val") != "validation":
        val = places.pop("val")
        places["test"] = places["test"] if places["test"].is_dir() else val
    elif not places["test"].is_dir():
        del places["test"]
    if share is not None and "test" in places:
        raise DataError(f"{path} has a test set: leave --test-share out")
    if share is None and "test" not in places:
        raise DataError(
            f"{path} has no test set where val/ is for validation: give --test-share 0.2, which "
            "holds that share of train out"
        )
    names = classes_in(places["train"])
    mistakes = [f"{places['train']}: no folder of a class in it"] * (not names)
    for part in places.keys() - {"train"}:
        unknown = sorted(set(classes_in(places[part])) - set(names))
        mistakes += [f"{places[part] / name}: training has no such class" for name in unknown]
    found = {part: _by_class(folder, names) for part, folder in places.items()}
    for name, files in zip(names, found["train"], strict=True):
        if not files:
            mistakes.append(f"{places['train'] / name}: a class with no image")
    for part in places.keys() - {"train"}:
        if not any(found[part]):
            mistakes.append(f"{places[part]}: no image in it")
    refuse(sorted(mistakes), path)
    return found, names


def _folders(made: Mapping) -> dict[str, str]:
    """The names of the folders of the parts."""
    return {part: part for part in (*PARTS, VAL)} | (made.get("parts") or {})


def classes_in(folder: Path) -> list[str]:
    """The names of the folders in it, which are classes or parts."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _by_class(folder: Path, names: list[str]) -> list[list[Path]]:
    """The pictures of each class. Raises DataError for what would be lost without a word."""
    mistakes = _links_lost(folder)
    found: list[list[Path]] = []
    for name in names:  # of which a test set may lack some
        files: list[Path] = []
        errors: list[OSError] = []
        for where, below, here in os.walk(folder / name, onerror=errors.append):
            links = [p for each in below if (p := Path(where, each)).is_symlink()]
            mistakes += [f"{p}: a link to a folder, which is not followed" for p in links]
            every = [Path(where, each) for each in here if not each.startswith(".")]
            mistakes += [_lost(file) for file in every if not file.is_file()]
            files += [file for file in every if file.suffix.lower() in pictures.SUFFIXES]
        mistakes += [f"{e.filename}: {e.strerror}" for e in errors if e.errno != errno.ENOENT]
        found.append(sorted(files))
    refuse(sorted(mistakes), folder)
    return found


def refuse_lost(path: Path) -> None:
    """Raise DataError for a part that leads nowhere: it is not taken for one that is not there."""
    if path.is_dir():
        refuse(_links_lost(path), path)


def _links_lost(folder: Path) -> list[str]:
    return [_lost(p) for p in sorted(folder.iterdir()) if p.is_symlink() and not p.exists()]


def _lost(file: Path) -> str:
    return f"{file}: a link that leads nowhere, or no file: remove it, or bring it back"


def passed_over(path: Path, files: dict[str, list[Path]]) -> list[Path]:
    """The files below a folder that are none of those that `listed` found, hidden ones apart."""
    taken = {file for part in files for file in files[part]}
    every = (file for file in path.rglob("*") if not file.name.startswith(".") and file.is_file())
    return [file.relative_to(path) for file in sorted(set(every) - taken)]


def _labels(by_class: list[list[Path]]) -> np.ndarray:
    return np.repeat(np.arange(len(by_class)), [len(files) for files in by_class]).astype(np.int64)


def channels_of(heads: list[Head]) -> int:
    """1 if all pictures are grey, else 3."""
    return 1 if all(head.grey for head in heads) else 3


def heads(files: list[Path]) -> tuple[list[Head], list[str]]:
    """What is known of each picture before it is decoded; and what cannot be used as one."""
    found, mistakes = [], []
    for file in files:
        try:
            found.append(pictures.head(file))
        except DataError as error:
            mistakes.append(str(error))
    return found, mistakes


def unusable(files: list[Path], decode: bool = True) -> list[str]:
    """What cannot be used as a picture, by its head or once it is decoded."""
    mistakes = []
    for file in files:
        try:
            pictures.head(file)
            if decode:
                pictures.decoded(file, 3, None)
        except DataError as error:
            mistakes.append(str(error))
    return mistakes
