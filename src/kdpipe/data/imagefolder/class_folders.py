"""Class folders, read into plain arrays: each image is decoded once and resized.

    PATH/train/CLASS/*.jpg, PATH/test/CLASS/*.jpg    and PATH/val/CLASS, for what the user says
    PATH/CLASS/*.jpg                                 with a share of each class held out as test

Labels are the positions of the classes in alphabetical order. An image that is not square is
stretched to the square of `resize`. Errors name their files and are raised all at once.

A test set that is held out always consists of the same ones of the same files. Each class gives its
share (`split_stratified`); a card from before that was so keeps its meaning, as many of each class
(`split_equally`). Before a folder has a card, `detect_layout` finds out which of its folders are
parts, by the names train, test and val, or Training, Testing, valid and Validation. Where it is not
evident what a part is for, the user is asked.
"""

import errno
import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdpipe.data.arrays import PARTS, VAL, Arrays, draw_balanced_order
from kdpipe.data.cards import MAX_ARRAY_BYTES
from kdpipe.data.imagefolder import decoding
from kdpipe.data.imagefolder.decoding import ImageHeader
from kdpipe.errors import DataError
from kdpipe.runs.files import open_regular_file
from kdpipe.text import escape, format_count, join_names

HEAD_BYTES = 2**16  # of a file: files of one size that share them are copies
MAX_ERRORS_SHOWN = 20
MAX_ALIKE_SHOWN = 5
DAMAGED_ADVICE = "remove or replace these files, or leave them out with --skip-damaged"
MAX_COUNTED_FILES = 20_000  # of a folder, to tell whether it is one of images
PART_WORDS = {
    "train": {"train", "training"},
    "test": {"test", "testing"},
    "val": {"val", "valid", "validation"},
}
FilesByClass = list[list[Path]]
ImageNames = dict[str, list[str]]  # of the images of each part, for messages


def read_folder(path: Path, options: dict) -> tuple[Arrays, ImageNames]:
    """Read the images of a folder of classes into arrays.

    Parameters
    ----------
    path : Path
        The folder.
    options : dict
        How the images are read (`cards.BuildOptions`).

    Returns
    -------
    arrays : dict of str to ndarray
        Images and labels of each part.
    names : dict of str to list of str
        The file of each image of each part.

    Raises
    ------
    DataError
        With every error in the folder.
    """
    files, labels, _ = list_images(path, options)
    all_files = [file for part in files for file in files[part]]
    headers, errors = read_headers(all_files)
    if errors:
        # Report those as well that only decoding finds.
        raise_damaged(find_invalid_images(all_files), path)
    side, channels = options["resize"], options["channels"]
    if channels is None:
        channels = infer_channels(headers)
    sizes = [header.size for header in headers]
    if side is None and len(set(sizes)) > 1:
        other = next(index for index, size in enumerate(sizes) if size != sizes[0])
        examples = (
            f"{escape(all_files[index].relative_to(path))} is {sizes[index][0]} x {sizes[index][1]}"
            for index in (0, other)
        )
        raise DataError(
            f"{path}: images of {len(set(sizes)):,} sizes ({', '.join(examples)}): use --resize, "
            "which stretches each to a square, or --stream, which crops"
        )
    width, height = (side, side) if side else sizes[0]
    arrays: Arrays = {}
    for part in files:
        shape = (len(files[part]), channels, height, width)
        if np.prod(shape, dtype=float) > MAX_ARRAY_BYTES:
            raise DataError(
                f"{path}: {shape} pixels are too many for one array: use --resize, or --stream, "
                "which reads them from their files"
            )
        images = np.empty(shape, np.uint8)
        for index, file in enumerate(files[part]):
            try:
                pixels = decoding.decode_image(file, channels, side and (side, side))
            except DataError as error:
                errors.append(str(error))
                continue
            if pixels.shape != images[index].shape:  # its EXIF came after its pixels
                errors.append(
                    f"{file} is {pixels.shape[2]} x {pixels.shape[1]} after its EXIF orientation "
                    "is applied"
                )
                continue
            images[index] = pixels
        arrays |= {f"{part}_images": images, f"{part}_labels": labels[part]}
    raise_damaged(errors, path)
    return arrays, {part: [str(file) for file in files[part]] for part in files}


def raise_errors(errors: list[str], path: Path) -> None:
    """Raise one DataError with all errors, if there are any; of many with one reason the first."""
    if errors:
        by_reason: dict[str, list[str]] = {}
        for error in errors:
            by_reason.setdefault(error.partition(" is ")[2] or error, []).append(error)
        lines = []
        for reason, same in by_reason.items():
            if len(same) > MAX_ALIKE_SHOWN:
                name = same[1].removesuffix(f" is {reason}")
                same = [same[0], f"and {len(same) - 1:,} others like it, such as {name}"]
            lines += same
        if len(lines) > MAX_ERRORS_SHOWN:
            more = len(lines) - MAX_ERRORS_SHOWN
            lines = [*lines[:MAX_ERRORS_SHOWN], f"and {more:,} more"]
        lines.insert(0, f"{path}: {format_count(len(errors), 'error')}")
        raise DataError("\n  ".join(map(escape, lines)))


def raise_damaged(errors: list[str], path: Path) -> None:
    """Raise one DataError with the errors of images, and with what to do, if there are any."""
    if errors:
        try:
            raise_errors(errors, path)
        except DataError as error:
            raise DataError(f"{error}\n  {DAMAGED_ADVICE}") from None


# --- listing the images of a folder


class FolderListing(NamedTuple):
    """The image files of a folder of classes.

    Attributes
    ----------
    files : dict of str to list of Path
        The files of each part, in a fixed order.
    labels : dict of str to ndarray
        The label of each file.
    classes : list of str
        The names of the classes.
    """

    files: dict[str, list[Path]]
    labels: dict[str, np.ndarray]
    classes: list[str]


def list_images(path: Path, options: Mapping = {}) -> FolderListing:
    """List the image files of a folder of classes, without reading them.

    Parameters
    ----------
    path : Path
        The folder.
    options : mapping
        How the images are read (`cards.BuildOptions`): which folder is which part, what val is for,
        and whether a share of train is held out as test.

    Raises
    ------
    DataError
        With every error in the folder.
    """
    by_part, classes = _find_images_by_part(path, options)
    if options.get("skip_damaged"):
        by_part = _drop_damaged(path, by_part, classes)
    files = {
        part: [file for class_files in by_class for file in class_files]
        for part, by_class in by_part.items()
    }
    labels = {part: _class_labels(by_class) for part, by_class in by_part.items()}
    if (share := options.get("test_share")) is not None:
        train = by_part["train"]
        small_classes = [
            (name, len(class_files))
            for name, class_files in zip(classes, train, strict=True)
            if len(class_files) < 2
        ]
        folder = path / _part_folders(options)["train"] if len(by_part) > 1 else path
        raise_errors(
            [
                f"{folder / name}: {n} image{'s' * (n != 1)}, too few for training and test: "
                "add images, or remove the class"
                for name, n in small_classes
            ],
            path,
        )
        split_files = split_stratified if options.get("draw") == "share" else split_equally
        is_test = split_files(train, share)
        for part, is_chosen in (("test", is_test), ("train", ~is_test)):
            all_files, all_labels = (
                [file for class_files in train for file in class_files],
                _class_labels(train),
            )
            files[part] = [all_files[index] for index in np.flatnonzero(is_chosen)]
            labels[part] = all_labels[is_chosen]
    return FolderListing(files, labels, classes)


def _drop_damaged(
    path: Path, by_part: dict[str, FilesByClass], classes: list[str]
) -> dict[str, FilesByClass]:
    """Return the files that can be decoded; raise DataError for a class that has none."""
    readable = {
        part: [[file for file in files if not find_invalid_images([file])] for files in by_class]
        for part, by_class in by_part.items()
    }
    empty = [
        f"class {name}: all of its training images are damaged"
        for name, files in zip(classes, readable["train"], strict=True)
        if not files
    ]
    raise_errors(empty, path)
    return readable


def list_all_images(path: Path, options: Mapping) -> list[Path]:
    """Return all image files of a folder of classes, whatever part they are in.

    Parameters
    ----------
    path : Path
        The folder.
    options : mapping
        How the images are read (`cards.BuildOptions`).

    Raises
    ------
    DataError
        With every error in the folder.
    """
    by_part, _ = _find_images_by_part(path, options)
    return [
        file for by_class in by_part.values() for class_files in by_class for file in class_files
    ]


def find_images(path: Path) -> list[Path]:
    """Return all image files below a folder, at any depth.

    Raises
    ------
    DataError
        For links and folders that would be left out silently.
    """
    (files,) = _find_images_by_class(path, [""])
    return files


def _find_images_by_part(
    path: Path, options: Mapping
) -> tuple[dict[str, list[list[Path]]], list[str]]:
    """Return the image files by part and class, and the names of the classes.

    Without folders of parts all are train: a test set is held out of it.
    """
    check_links(path)
    part_dirs = {part: path / name for part, name in _part_folders(options).items()}
    share = options.get("test_share")
    if not (
        part_dirs["train"].is_dir() and (part_dirs["test"].is_dir() or part_dirs["val"].is_dir())
    ):
        names = list_classes(path)
        if share is None or "train" in names:
            raise DataError(
                f"{path}: expected PATH/train/CLASS/ and PATH/test/CLASS/ (or val); with only "
                "PATH/CLASS/, use --test-share 0.2"
            )
        return {"train": _find_images_by_class(path, names)}, names
    if options.get("val") != "validation":
        val = part_dirs.pop("val")
        part_dirs["test"] = part_dirs["test"] if part_dirs["test"].is_dir() else val
    elif not part_dirs["test"].is_dir():
        del part_dirs["test"]
    if share is not None and "test" in part_dirs:
        raise DataError(f"{path} has a test set: remove --test-share")
    if share is None and "test" not in part_dirs:
        raise DataError(
            f"{path} has no test set if val/ is for validation: use --test-share 0.2, which holds "
            "out that fraction of train"
        )
    names = list_classes(part_dirs["train"])
    errors = [f"{part_dirs['train']}: contains no class folder"] * (not names)
    for part in part_dirs.keys() - {"train"}:
        unknown = sorted(set(list_classes(part_dirs[part])) - set(names))
        errors += [f"{part_dirs[part] / name}: there is no such class in train" for name in unknown]
    images = {part: _find_images_by_class(folder, names) for part, folder in part_dirs.items()}
    for name, files in zip(names, images["train"], strict=True):
        if not files:
            errors.append(f"{part_dirs['train'] / name}: a class without images")
    for part in part_dirs.keys() - {"train"}:
        if not any(images[part]):
            errors.append(f"{part_dirs[part]}: contains no images")
    raise_errors(sorted(errors), path)
    return images, names


def _part_folders(options: Mapping) -> dict[str, str]:
    """Return the name of the folder of each part."""
    return {part: part for part in (*PARTS, VAL)} | (options.get("parts") or {})


def list_classes(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, which are classes or parts."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _find_images_by_class(folder: Path, names: list[str]) -> list[list[Path]]:
    """Return the image files of each class; raise DataError for what would be left out silently."""
    messages = _find_broken_links(folder)
    images_by_class: list[list[Path]] = []
    for name in names:  # a test set may lack some
        files: list[Path] = []
        errors: list[OSError] = []
        for directory, subfolders, filenames in os.walk(folder / name, onerror=errors.append):
            links = [p for entry in subfolders if (p := Path(directory, entry)).is_symlink()]
            messages += [f"{p}: links to folders are not followed" for p in links]
            paths = [Path(directory, entry) for entry in filenames if not entry.startswith(".")]
            messages += [_broken_link_message(file) for file in paths if not file.is_file()]
            files += [file for file in paths if file.suffix.lower() in decoding.IMAGE_SUFFIXES]
        messages += [f"{e.filename}: {e.strerror}" for e in errors if e.errno != errno.ENOENT]
        images_by_class.append(sorted(files))
    raise_errors(sorted(messages), folder)
    return images_by_class


def check_links(path: Path) -> None:
    """Raise DataError for a broken link to a part, which would seem not to exist."""
    if path.is_dir():
        raise_errors(_find_broken_links(path), path)


def _find_broken_links(folder: Path) -> list[str]:
    """Return a message for each broken link in a folder."""
    return [
        _broken_link_message(p)
        for p in sorted(folder.iterdir())
        if p.is_symlink() and not p.exists()
    ]


def _broken_link_message(file: Path) -> str:
    """Return the message about a broken link."""
    return f"{file}: a broken link or not a regular file: remove it, or restore it"


def list_skipped_files(path: Path, files: dict[str, list[Path]]) -> list[Path]:
    """Return the files below a folder that are not listed, without hidden ones."""
    used_files = {file for part in files for file in files[part]}
    all_files = (
        file for file in path.rglob("*") if not file.name.startswith(".") and file.is_file()
    )
    return [file.relative_to(path) for file in sorted(set(all_files) - used_files)]


def _class_labels(by_class: list[list[Path]]) -> np.ndarray:
    """Return the labels of files by class."""
    return np.repeat(np.arange(len(by_class)), [len(files) for files in by_class]).astype(np.int64)


# --- headers


def read_headers(files: list[Path]) -> tuple[list[ImageHeader], list[str]]:
    """Return the headers of images, and a message for each file that cannot be used as one."""
    headers, errors = [], []
    for file in files:
        try:
            headers.append(decoding.read_header(file))
        except DataError as error:
            errors.append(str(error))
    return headers, errors


def infer_channels(headers: list[ImageHeader]) -> int:
    """Return 1 if all images are grey, else 3."""
    return 1 if all(header.is_gray for header in headers) else 3


def find_invalid_images(files: list[Path], decode: bool = True) -> list[str]:
    """Return a message for each file that cannot be used as an image.

    Parameters
    ----------
    files : list of Path
        The files.
    decode : bool
        Whether to decode them, which finds more than their headers do.
    """
    errors = []
    for file in files:
        try:
            decoding.read_header(file)
            if decode:
                decoding.decode_image(file, 3, None)
        except DataError as error:
            errors.append(str(error))
    return errors


# --- a test set held out of the classes


def split_stratified(by_class: FilesByClass, share: float) -> np.ndarray:
    """Select a test set that has the same share of each class.

    Of each class it has at least one file and never the last one. Copies stay in train, or the same
    image could be in both.

    Parameters
    ----------
    by_class : list of list of Path
        The files of each class.
    share : float
        The share of the test set, in (0, 1).

    Returns
    -------
    ndarray of shape (N,)
        Whether each file, class after class, is in the test set.
    """
    copies = _find_copies([file for files in by_class for file in files])
    rng = np.random.RandomState(0)
    test_files: set[Path] = set()
    for files in by_class:
        shuffled = [files[index] for index in rng.permutation(len(files))]
        count = min(max(1, round(share * len(files))), len(files) - 1)
        test_files |= set([file for file in shuffled if file not in copies][:count])
    return np.array([file in test_files for files in by_class for file in files], dtype=bool)


def split_equally(by_class: FilesByClass, share: float) -> np.ndarray:
    """Select a test set that has as many of each class, while the class has some.

    Parameters and result are those of `split_stratified`.
    """
    counts = [len(files) for files in by_class]
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    order = draw_balanced_order(labels, np.random.RandomState(0))
    count = min(max(1, round(share * len(labels))), len(labels) - len(counts))
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[order[:count]] = True
    return is_test


def hash_head(file: Path) -> bytes:
    """Return the digest of the beginning of a file: files of one size that share it are copies."""
    with open_regular_file(file) as stream:
        return hashlib.sha256(stream.read(HEAD_BYTES)).digest()


def _find_copies(files: list[Path]) -> set[Path]:
    """Return the files of one size that begin alike; only files of equal size are opened."""
    by_size: dict = defaultdict(list)
    for file in files:
        by_size[file.stat().st_size].append(file)
    by_digest: dict = defaultdict(list)
    for size, group in by_size.items():
        for file in group if len(group) > 1 else ():
            by_digest[size, hash_head(file)].append(file)
    return {file for group in by_digest.values() if len(group) > 1 for file in group}


# --- the layout of a folder that has no card yet


class FolderLayout(NamedTuple):
    """Which folders are parts, before there is a card.

    Attributes
    ----------
    parts : dict of str to str
        The folder of each part; empty where all folders are classes.
    val : str or None
        What the part val is for, `validation` or `test`; None where there is none.
    """

    parts: dict[str, str]
    val: str | None  # validation, test, or None where there is none

    @property
    def has_test(self) -> bool:
        """Return whether there is a test set; else a share of train has to be held out."""
        return "test" in self.parts or self.val == "test"

    @property
    def build_options(self) -> dict:
        """Return the layout as a card has it (`cards.BuildOptions`)."""
        other = {part: name for part, name in self.parts.items() if name != part}
        return {"val": self.val} | ({"parts": other} if other else {})


def detect_layout(path: Path, val_is: str | None = None) -> FolderLayout:
    """Detect which folders of a folder are parts.

    Parameters
    ----------
    path : Path
        The folder.
    val_is : str or None
        What the part val is for, `validation` or `test`, if the user has said so.

    Raises
    ------
    DataError
        If there are no classes, or with a question where it is not evident what val is for.
    """
    check_links(path)
    names = list_classes(path)
    parts = _detect_parts(path, names)
    if not parts:
        if len(names) < 2:
            raise DataError(_no_classes_message(path, names))
        if val_is is not None:
            raise DataError(f"--val-is {val_is}: {path} does not have both train/ and val/")
        return FolderLayout({}, None)
    return FolderLayout(parts, _resolve_val(path, parts, val_is))


def _detect_parts(path: Path, names: list[str]) -> dict[str, str]:
    """Return the folder of each part; empty where all folders are classes."""
    matches = {part: [n for n in names if n.lower() in words] for part, words in PART_WORDS.items()}
    if not matches["train"] or not (matches["test"] or matches["val"]):
        return {}
    for part, candidates in matches.items():
        if len(candidates) > 1:
            raise DataError(
                f"{path}: {join_names(map(escape, candidates))} could each be {part}: move all but "
                "one of them out of the folder"
            )
    return {part: folder_names[0] for part, folder_names in matches.items() if folder_names}


def require_images(path: Path) -> None:
    """Raise DataError for a folder below which most files are no images.

    Parameters
    ----------
    path : Path
        A folder that is said to hold classes.
    """
    n_images, n_others, example = 0, 0, ""
    for directory, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if Path(name).suffix.lower() in decoding.IMAGE_SUFFIXES:
                n_images += 1
            elif not name.startswith("."):
                n_others, example = n_others + 1, example or str(Path(directory, name))
        if n_images + n_others > MAX_COUNTED_FILES:
            break
    if n_others > max(n_images, 1):
        raise DataError(
            f"{path} is not a folder of classes: below it are {n_images:,} images and "
            f"{n_others:,} other files, as {escape(example)}; give the folder that has one folder "
            "of images per class"
        )


def _no_classes_message(path: Path, names: list[str]) -> str:
    """Return what to say of a folder that has no classes."""
    if not names:
        return (
            f"{path} has no folders: its images must be in one folder per class, as PATH/cat/1.jpg "
            "and PATH/dog/1.jpg"
        )
    return (
        f"{path} has only one folder, {escape(names[0])}, and so only one class. If the classes "
        f"are in that folder, give it instead: {escape(path / names[0])}"
    )


def _resolve_val(path: Path, parts: dict[str, str], val_is: str | None) -> str | None:
    """Return what val is for; raise DataError where that has to be said."""
    if "val" not in parts:
        if val_is is not None:
            raise DataError(f"--val-is {val_is}: {path} does not have both train/ and val/")
        return None
    name = escape(parts["val"])
    if "test" in parts and val_is == "test":
        raise DataError(
            f"{path} has {parts['test']}/, so {name}/ is for validation: --val-is test is not "
            "allowed"
        )
    if "test" not in parts and val_is is None:
        raise DataError(
            f"{path} has {parts['train']}/ and {name}/, but no test/. Is {name}/ for model "
            "selection or for the final results? Use --val-is test (not used for selection; the "
            "study holds validation images out of train), or --val-is validation (a fraction of "
            "train is held out as test: a fifth by kdpipe init; kdpipe data requires --test-share "
            "0.2)"
        )
    return val_is or "validation"
