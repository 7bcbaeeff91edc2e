"""A folder of classes made into plain arrays: every image decoded once, scaled, and in one array.

    PATH/train/CLASS/*.jpg, PATH/test/CLASS/*.jpg    classes by name; PATH/val/CLASS as it is said
    PATH/CLASS/*.jpg                                 with a share of each class held out as test

Labels are the places of the classes in alphabetical order. An image that is not square is
stretched to the square that `resize` asks for. Mistakes are said by file, all of them at once.
"""

import errno
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdpipe.data.arrays import PARTS, Arrays, balanced_order
from kdpipe.data.cards import MAX_BYTES
from kdpipe.data.own import pictures
from kdpipe.data.own.pictures import Head
from kdpipe.errors import DataError
from kdpipe.wording import printable

Names = dict[str, list[str]]  # of each image of a part, as a message calls it
SHOWN = 20  # mistakes


def read(path: Path, made: dict) -> tuple[Arrays, Names]:
    """The arrays of a folder, and the file of each image; `made` says how (`Card.made`).

    Raises DataError with every mistake.
    """
    files, labels, _ = listed(path, made["test_share"], made["val"])
    every = [file for part in files for file in files[part]]
    first, mistakes = heads(every)
    refuse(mistakes, path)
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
                pixels = pictures.decoded(file, channels, side)
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


def listed(path: Path, test_share: float | None = None, val: str | None = None) -> Found:
    """What lies in a folder. Raises DataError with every mistake.

    `val` is what PATH/val is: `validation`, a part of its own; else the test set, where there is no
    PATH/test.
    """
    if (path / "train").is_dir() and ((path / "test").is_dir() or (path / "val").is_dir()):
        return _of_parts(path, test_share, val)
    names = _classes(path)
    if test_share is None or "train" in names:
        raise DataError(
            f"{path}: expected PATH/train/CLASS/ and PATH/test/CLASS/ (or val); where it has only "
            "PATH/CLASS/, give --test-share 0.2"
        )
    return _held_out(path, names, test_share)


def val_of(path: Path, said: str | None) -> str | None:
    """What PATH/val is, `validation` or `test`; None if there is none. Never guessed.

    Raises DataError with the question where nobody has `said` it.
    """
    train, val, test = ((path / name).is_dir() for name in ("train", "val", "test"))
    if not (train and val):
        if said is not None:
            raise DataError(f"--val-is {said}: {path} has not both train/ and val/")
        return None
    if test and said == "test":
        raise DataError(f"{path} has test/ beside val/, which is for validation: no --val-is test")
    if not test and said is None:
        raise DataError(
            f"{path} has train/ and val/ and no test/. Are choices made on val/, or are results "
            "reported on it? Say --val-is test (nothing is chosen on it; the study holds "
            "validation images out of train), or --val-is validation with --test-share 0.2 "
            "(that share of train is held out as test)"
        )
    return said or "validation"


def _of_parts(path: Path, test_share: float | None, val: str | None) -> Found:
    """PATH/train beside PATH/test or PATH/val."""
    places = {"train": path / "train", "test": path / "test", "val": path / "val"}
    if val != "validation":
        test = places.pop("val")
        places["test"] = places["test"] if places["test"].is_dir() else test
    elif not places["test"].is_dir():
        del places["test"]
    if ("test" in places) is (test_share is not None):
        if test_share is not None:
            raise DataError(f"{path} has a test set: leave --test-share out")
        raise DataError(
            f"{path} has no test set where val/ is for validation: give --test-share 0.2, which "
            "holds that share of train out"
        )
    names = _classes(places["train"])
    mistakes = [f"{places['train']}: no folder of a class in it"] * (not names)
    for part in places.keys() - {"train"}:
        unknown = sorted(set(_classes(places[part])) - set(names))
        mistakes += [f"{places[part] / name}: training has no such class" for name in unknown]
    found = {part: _by_class(folder, names) for part, folder in places.items()}
    for name, files in zip(names, found["train"], strict=True):
        if not files:
            mistakes.append(f"{places['train'] / name}: a class with no image")
    for part in places.keys() - {"train"}:
        if not any(found[part]):
            mistakes.append(f"{places[part]}: no image in it")
    refuse(sorted(mistakes), path)
    files = {part: [file for each in found[part] for file in each] for part in found}
    labels = {part: _labels(found[part]) for part in found}
    if test_share is not None:
        held = _held_out(places["train"], names, test_share)
        files, labels = files | held.files, labels | held.labels
    return Found(files, labels, names)


def _held_out(path: Path, names: list[str], share: float) -> Found:
    """PATH/CLASS, with a share of each class held out as test."""
    by_class = _by_class(path, names)
    refuse(
        [
            f"{path / name}: {len(files)} image(s), too few for training and test"
            for name, files in zip(names, by_class, strict=True)
            if len(files) < 2
        ],
        path,
    )
    files, labels = [file for each in by_class for file in each], _labels(by_class)
    order = balanced_order(labels, np.random.RandomState(0))
    # Rank by rank, so that each class keeps an image to learn from.
    count = min(max(1, round(share * len(files))), len(files) - len(names))
    held = {"test": np.sort(order[:count]), "train": np.sort(order[count:])}
    return Found(
        {part: [files[index] for index in held[part]] for part in PARTS},
        {part: labels[held[part]] for part in PARTS},
        names,
    )


def _classes(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _by_class(folder: Path, names: list[str]) -> list[list[Path]]:
    """The pictures of each class. Raises DataError for what would be lost without a word."""
    mistakes = [_lost(p) for p in sorted(folder.iterdir()) if p.is_symlink() and not p.exists()]
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
