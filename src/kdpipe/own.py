"""Data of one's own: a folder of classes, or a .npz file, made into plain arrays.

`make_card` looks at every image once and writes the card that a study is planned from; `read`
does the same again when the data set is prepared. Every mistake is said by file, all of them at
once and before anything is trained. Nothing is unpickled. Of a folder that streams (`--stream`)
the card names a listing of its files: their headers are read once, and their pixels in training;
mean and std, which the study then wants, are measured on a sample of them.

A .npz holds train_images, train_labels, test_images, test_labels (or x_train, y_train, ...) as
numpy writes them; what a folder looks like is said in `folders`.
"""

import hashlib
import re
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from kdpipe import cards, folders, listing, store
from kdpipe.cards import Card
from kdpipe.errors import DataError
from kdpipe.folders import PARTS, Arrays, Names, refuse

__all__ = ["make_card", "read"]

SAMPLE = 1000  # training images that mean and std are measured on, where images stream
AT_ONCE = 10  # of them in memory


def make_card(
    path: Path,
    name: str | None,
    card: str | None,
    *,
    resize: int | None = None,
    channels: int | None = None,
    test_share: float | None = None,
    stream: int | None = None,
) -> str:
    """Write the card of a folder or .npz; returns a line, and what the study has to say.

    Raises DataError with every mistake.
    """
    from kdpipe import data

    name = name or path.name.removesuffix(".npz")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", name) or name in cards.known():
        raise DataError(
            f"the name {name!r} is taken or not plain: give another with --name (letters, digits, "
            "- and _, at most 40)"
        )
    if resize is not None and not 4 <= resize <= 1024:
        raise DataError(f"--resize {resize}: 4 to 1024 pixels")
    if test_share is not None and not 0 < test_share < 1:
        raise DataError(f"--test-share {test_share}: more than 0 and less than 1")
    made = {"resize": resize, "channels": channels, "test_share": test_share}
    if stream is not None:
        if resize is not None or not 16 <= stream <= 1024:
            raise DataError(f"--stream {stream}: 16 to 1024 pixels, and no --resize beside it")
        arrays = _listing(path, stream, channels, test_share)
        shape, names = tuple(arrays["shape"].tolist()), listing.NAMES
        made |= {"channels": shape[0], "stream": stream}
    else:
        arrays = _arrays(path, made)
        shape, names = arrays["train_images"].shape[1:], data.ARRAYS
    classes = int(arrays["train_labels"].max()) + 1
    new = Card(
        name=name,
        title=name,
        source=path.name,
        shape=shape,
        classes=classes,
        train=len(arrays["train_labels"]),
        test=len(arrays["test_labels"]),
        sha256=data.digest(arrays, names),
        made=made,
    )
    place = Path(card) if card else cards.beside(path)
    size, said = " x ".join(map(str, shape)), {"name": name, "path": path}
    if card:
        said["card"] = card
    measured = ""
    if stream is not None:
        size = f"{size}, read from their files,"
        said["mean"], said["std"], count = _statistics(path, arrays)
        of = f"{count:,} training images drawn at random" if count < new.train else "all of train"
        measured = f"\n(mean and std were measured on {of}, as evaluation sees them)"
    store.write_json(place, asdict(new))
    keys = ", ".join(f"{key}: {value}" for key, value in said.items())
    return (
        f"{place}: {new.train:,} training and {new.test:,} test images of {size} in {classes} "
        f"classes. In the study: data: {{{keys}}}{measured}"
    )


def read(card: Card, path: Path) -> Arrays:
    """The arrays of one's own data, as its card says they were made. Raises DataError."""
    return _arrays(path, card.made)


def _arrays(path: Path, made: dict) -> Arrays:
    if path.is_dir():
        arrays, names = folders.read(path, made)
    elif path.is_file():
        arrays, names = _of_npz(path, made)
    else:
        raise DataError(f"there is no folder or file {path}")
    refuse([*_of_labels(path, arrays), *_overlap(arrays, names)], path)
    return arrays


def _listing(path: Path, side: int, channels: int | None, test_share: float | None) -> Arrays:
    """The listing of a folder whose images stream."""
    if not path.is_dir():
        raise DataError(f"{path}: --stream is for a folder of classes")
    files, labels = folders.listed(path, test_share)
    heads, mistakes = folders.headers([file for part in PARTS for file in files[part]])
    refuse(mistakes, path)
    channels = channels or folders.channels_of(heads)
    arrays = listing.of(path, files, labels, (channels, side, side))
    refuse(_same_files(files, arrays), path)
    return arrays


def _statistics(path: Path, arrays: Arrays) -> tuple[list[float], list[float], int]:
    """Mean and standard deviation of each channel, of pixels in [0, 1]; of how many images.

    Of a sample that is always the same: the centres that evaluation cuts out, to four digits.
    """
    from kdpipe import streams  # torch, for this alone
    from kdpipe.views import PLAIN

    count = len(arrays["train_labels"])
    chosen = np.sort(np.random.RandomState(0).permutation(count)[:SAMPLE])
    shape = tuple(arrays["shape"].tolist())
    total, squares = np.zeros(shape[0]), np.zeros(shape[0])
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("paths", "sizes"):
            np.save(Path(folder) / f"train_{kind}.npy", arrays[f"train_{kind}"])
        files = listing.Files(Path(folder), "train", chosen, path, shape)
        plain = streams.Streams(files, PLAIN, [0.0] * shape[0], [1.0] * shape[0])
        for x in plain.centres(AT_ONCE):
            pixels = x.numpy().astype(np.float64)
            total += pixels.sum((0, 2, 3))
            squares += (pixels**2).sum((0, 2, 3))
    mean = total / (len(chosen) * shape[1] * shape[2])
    variance = squares / (len(chosen) * shape[1] * shape[2]) - mean**2
    std = np.sqrt(variance.clip(1e-8))  # of images of one colour: a study wants more than 0
    return mean.round(4).tolist(), std.round(4).tolist(), len(chosen)


def _same_files(files: dict[str, list[Path]], arrays: Arrays) -> list[str]:
    """Files of equal bytes in train and in test; only those of equal size are read."""
    shared = np.intersect1d(arrays["train_sizes"], arrays["test_sizes"])
    found: dict[str, list[tuple[str, Path]]] = {}
    for part in PARTS:
        chosen = np.flatnonzero(np.isin(arrays[f"{part}_sizes"], shared))
        paths = [files[part][index] for index in chosen]
        found[part] = [(store.file_facts(path)["sha256"], path) for path in paths]
    train = dict(found["train"])
    return [
        f"{path} is the same file as {train[digest]}: train and test must not overlap"
        for digest, path in found["test"]
        if digest in train
    ]


def _of_labels(path: Path, arrays: Arrays) -> list[str]:
    """A class must have images to learn from, and the test set no other classes."""
    classes = int(arrays["train_labels"].max()) + 1
    missing = np.flatnonzero(np.bincount(arrays["train_labels"], minlength=classes) == 0)
    found = [f"class {label} has no training image: labels go from 0 up" for label in missing[:10]]
    beyond = np.flatnonzero(arrays["test_labels"] >= classes)
    found += [
        f"test_labels[{index}] is {arrays['test_labels'][index]}, training has 0 to {classes - 1}"
        for index in beyond[:10]
    ]
    return found


def _overlap(arrays: Arrays, names: Names) -> list[str]:
    """Images that stand in train and in test."""
    digests = {
        part: [hashlib.sha256(image.tobytes()).digest() for image in arrays[f"{part}_images"]]
        for part in PARTS
    }
    train = dict(zip(digests["train"], names["train"], strict=True))
    return [
        f"{name} is the same image as {train[digest]}: train and test must not overlap"
        for digest, name in zip(digests["test"], names["test"], strict=True)
        if digest in train
    ]


# --- .npz


def _of_npz(path: Path, made: dict) -> tuple[Arrays, Names]:
    if made["test_share"] is not None or made["channels"] is not None or made["resize"] is not None:
        raise DataError(f"{path}: a .npz is taken as it is; scale it in the study (data.resize)")
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged or no plain .npz file: {error}") from None
    arrays: Arrays = {}
    for part in PARTS:
        for kind, short in (("images", "x"), ("labels", "y")):
            key = f"{part}_{kind}" if f"{part}_{kind}" in held else f"{short}_{part}"
            if key not in held:
                raise DataError(
                    f"{path}: {part}_{kind} (or {short}_{part}) is missing; it has "
                    f"{', '.join(held) or 'nothing'}"
                )
            arrays[f"{part}_{kind}"] = held[key]
    refuse([line for part in PARTS for line in _of_part(part, arrays)], path)
    for part in PARTS:
        arrays[f"{part}_images"] = _channels_first(arrays[f"{part}_images"])
        arrays[f"{part}_labels"] = arrays[f"{part}_labels"].reshape(-1).astype(np.int64)
    if arrays["train_images"].shape[1:] != arrays["test_images"].shape[1:]:
        raise DataError(
            f"{path}: images of {arrays['train_images'].shape[1:]} in train and of "
            f"{arrays['test_images'].shape[1:]} in test"
        )
    return arrays, {
        part: [f"{part} image {index}" for index in range(len(arrays[f"{part}_labels"]))]
        for part in PARTS
    }


def _of_part(part: str, arrays: Arrays) -> list[str]:
    """What is wrong with images and labels by themselves."""
    images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    found = []
    if images.dtype != np.uint8:
        found.append(f"{part} images are {images.dtype}: whole numbers from 0 to 255 (uint8)")
    if images.ndim not in (3, 4) or images.size == 0:
        found.append(
            f"{part} images have shape {images.shape}: (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    elif images.ndim == 4 and not {images.shape[1], images.shape[3]} & {1, 3}:
        found.append(f"{part} images have shape {images.shape}: 1 or 3 channels are wanted")
    if labels.dtype.kind not in "iu" or labels.size != len(labels):
        found.append(
            f"{part} labels are {labels.dtype} of shape {labels.shape}: one whole number each"
        )
    elif len(labels) != len(images):
        found.append(f"{part} has {len(images):,} images and {len(labels):,} labels")
    else:
        wrong = np.flatnonzero((labels.reshape(-1) < 0) | (labels.reshape(-1) >= 100_000))
        found += [
            f"{part} label {index} is {labels.reshape(-1)[index]}: 0 to 99,999"
            for index in wrong[:10]
        ]
    return found


def _channels_first(images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        return np.ascontiguousarray(images[:, None])
    if images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images)
