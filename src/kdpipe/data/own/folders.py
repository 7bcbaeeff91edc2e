"""A folder of classes made into plain arrays: every image decoded once, scaled, and in one array.

    PATH/train/CLASS/*.jpg, PATH/test/CLASS/*.jpg    classes by name; `val` serves as test
    PATH/CLASS/*.jpg                                 with a share of each class held out as test

Labels are the places of the classes in alphabetical order. An image that is not square is
stretched to the square that `resize` asks for. Mistakes are said by file, all of them at once.
"""

from pathlib import Path

import numpy as np

from kdpipe.data.arrays import PARTS, Arrays, balanced_order
from kdpipe.data.cards import MAX_BYTES
from kdpipe.errors import DataError

Names = dict[str, list[str]]  # of each image of a part, as a message calls it
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SHOWN = 20  # mistakes


def read(path: Path, made: dict) -> tuple[Arrays, Names]:
    """The arrays of a folder, and the file of each image; `made` says how (`Card.made`).

    Raises DataError with every mistake.
    """
    files, labels = listed(path, made["test_share"])
    every = [file for part in PARTS for file in files[part]]
    first, mistakes = headers(every)
    refuse(mistakes, path)
    side, channels = made["resize"], made["channels"]
    if channels is None:
        channels = channels_of(first)
    sizes = {size for _, size in first}
    if side is None and len(sizes) > 1:
        other = next(index for index, (_, size) in enumerate(first) if size != first[0][1])
        two = (
            f"{every[index].relative_to(path)} is {first[index][1][0]} x {first[index][1][1]}"
            for index in (0, other)
        )
        raise DataError(
            f"{path}: images of {len(sizes):,} sizes ({', '.join(two)}): give --resize, which "
            "scales each to a square, or --stream, which crops"
        )
    width, height = (side, side) if side else first[0][1]
    arrays: Arrays = {}
    for part in PARTS:
        shape = (len(files[part]), channels, height, width)
        if np.prod(shape, dtype=float) > MAX_BYTES:
            raise DataError(
                f"{path}: {shape} pixels are too many for one array: give --resize, or "
                "--stream, which leaves them in their files"
            )
        images = np.empty(shape, np.uint8)
        for index, file in enumerate(files[part]):
            try:
                images[index] = _decoded(file, channels, side)
            except (OSError, ValueError, SyntaxError, MemoryError) as error:
                mistakes.append(f"{file} cannot be read as an image: {error}")
        arrays |= {f"{part}_images": images, f"{part}_labels": labels[part]}
    refuse(mistakes, path)
    return arrays, {part: [str(file) for file in files[part]] for part in PARTS}


def refuse(mistakes: list[str], path: Path) -> None:
    """Raise one DataError for all mistakes, if there are any."""
    if mistakes:
        lines = [f"{path}: {len(mistakes)} mistake{'s' * (len(mistakes) > 1)}", *mistakes[:SHOWN]]
        if len(mistakes) > SHOWN:
            lines.append(f"and {len(mistakes) - SHOWN:,} more")
        raise DataError("\n  ".join(lines))


def listed(
    path: Path, test_share: float | None
) -> tuple[dict[str, list[Path]], dict[str, np.ndarray]]:
    """The image files of each part in a fixed order, and their labels."""
    test = next((path / name for name in ("test", "val") if (path / name).is_dir()), None)
    if (path / "train").is_dir() and test:
        if test_share is not None:
            raise DataError(f"{path} has a test set: leave --test-share out")
        names = _classes(path / "train")
        mistakes = [f"{path / 'train'}: no folder of a class in it"] * (not names)
        unknown = sorted(set(_classes(test)) - set(names))
        mistakes += [f"{test / name}: training has no such class" for name in unknown]
        found = {
            part: _by_class(folder, names)
            for part, folder in (("train", path / "train"), ("test", test))
        }
        for name, files in zip(names, found["train"], strict=True):
            if not files:
                mistakes.append(f"{path / 'train' / name}: a class with no image")
        if not any(found["test"]):
            mistakes.append(f"{test}: no image in it")
        refuse(mistakes, path)
        return (
            {part: [file for files in found[part] for file in files] for part in PARTS},
            {part: _labels(found[part]) for part in PARTS},
        )
    names = _classes(path)
    if test_share is None or "train" in names:
        raise DataError(
            f"{path}: expected PATH/train/CLASS/ and PATH/test/CLASS/ (or val); where it has only "
            "PATH/CLASS/, give --test-share 0.2"
        )
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
    count = min(max(1, round(test_share * len(files))), len(files) - len(names))
    held = {"test": np.sort(order[:count]), "train": np.sort(order[count:])}
    return (
        {part: [files[index] for index in held[part]] for part in PARTS},
        {part: labels[held[part]] for part in PARTS},
    )


def _classes(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _by_class(folder: Path, names: list[str]) -> list[list[Path]]:
    return [
        sorted(
            file
            for file in (folder / name).rglob("*")
            if file.suffix.lower() in IMAGES and file.is_file() and not file.name.startswith(".")
        )
        for name in names
    ]


def _labels(by_class: list[list[Path]]) -> np.ndarray:
    return np.repeat(np.arange(len(by_class)), [len(files) for files in by_class]).astype(np.int64)


def channels_of(headers: list[tuple[str, tuple[int, int]]]) -> int:
    """1 if all images are grey, else 3."""
    return 1 if {mode for mode, _ in headers} <= {"1", "L"} else 3


def headers(files: list[Path]) -> tuple[list[tuple[str, tuple[int, int]]], list[str]]:
    """(mode, (width, height)) of each image, read from its first bytes; and what is no image."""
    from PIL import Image

    found, mistakes = [], []
    for file in files:
        try:
            with Image.open(file) as image:
                found.append((image.mode, image.size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            mistakes.append(f"{file} cannot be read as an image: {error}")
    return found, mistakes


def _decoded(file: Path, channels: int, side: int | None) -> np.ndarray:
    from PIL import Image

    with Image.open(file) as image:
        image = image.convert("L" if channels == 1 else "RGB")
        if side is not None:
            image = image.resize((side, side), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
