"""Data of one's own made into plain arrays, and refused with all its mistakes at once.

A .npz holds train_images, train_labels, test_images, test_labels (or x_train, y_train, ...) as
numpy writes them, and val_images, val_labels where validation is a part of its own; what a folder
looks like is said in `folders`. Nothing is unpickled.
"""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from kdpipe.data.arrays import PARTS, VAL, Arrays
from kdpipe.data.cards import MAX_BYTES, Card
from kdpipe.data.own import folders, pictures
from kdpipe.data.own.folders import Names, refuse
from kdpipe.errors import DataError
from kdpipe.wording import printable

KINDS = (("images", "x"), ("labels", "y"))  # as a .npz calls them, and as Keras does


def read(card: Card, path: Path) -> Arrays:
    """The arrays of one's own data, as its card says they were made. Raises DataError."""
    return arrays_of(path, card.made)


def arrays_of(path: Path, made: dict) -> Arrays:
    """The arrays of a folder or .npz, `made` in that way (`Card.made`).

    Raises DataError with every mistake.
    """
    if path.is_dir():
        arrays, names = folders.read(path, made)
    elif path.is_file():
        arrays, names = _of_npz(path, made)
    else:
        raise DataError(f"there is no folder or file {path}")
    shared = made.get("test_share") is not None
    refuse([*_of_labels(path, arrays), *_overlap(arrays, names, shared)], path)
    return arrays


def _of_labels(path: Path, arrays: Arrays) -> list[str]:
    """A class must have images to learn from, and the test set no other classes."""
    classes = int(arrays["train_labels"].max()) + 1
    missing = np.flatnonzero(np.bincount(arrays["train_labels"], minlength=classes) == 0)
    found = [f"class {label} has no training image: labels go from 0 up" for label in missing[:10]]
    for part in parts_of(arrays):
        beyond = np.flatnonzero(arrays[f"{part}_labels"] >= classes)
        found += [
            f"{part}_labels[{index}] is {arrays[f'{part}_labels'][index]}, training has 0 to "
            f"{classes - 1}"
            for index in beyond[:10]
        ]
    return found


def parts_of(arrays: Arrays) -> list[str]:
    """The parts that are there: train, test, and val where it is a part of its own."""
    return [part for part in (*PARTS, VAL) if f"{part}_labels" in arrays]


def _overlap(arrays: Arrays, names: Names, shared: bool) -> list[str]:
    """Images that stand in two parts; `shared`: test was held out of train, by nobody's choice."""
    seen: dict[bytes, tuple[str, str]] = {}
    found = []
    for part in parts_of(arrays):
        digests = digests_of(arrays[f"{part}_images"])
        for digest, name in zip(digests, names[part], strict=True):
            other, first = seen.get(digest, (part, name))
            if other != part:
                both = f"{other} and {part}"
                why = f"{both} must not overlap"
                if shared and VAL not in (other, part):
                    why = "one of them was held out as test, and train has the other: remove one"
                if _differ_below_8_bits(name, first):
                    why = (
                        "they have 16 bits, of which the upper 8 are kept, and differ below: "
                        "scale them to 8 bits first"
                    )
                found.append(f"{name} is the same image as {first}: {why}")
        seen |= {digest: (part, name) for digest, name in zip(digests, names[part], strict=True)}
    return found


def _differ_below_8_bits(name: str, other: str) -> bool:
    """Whether two pictures that come to the same pixels have 16 bits, and others in the lower 8."""
    if not all(Path(each).is_file() for each in (name, other)):  # of a .npz
        return False
    ours, theirs = pictures.deep_pixels(name), pictures.deep_pixels(other)
    return ours is not None and theirs is not None and not np.array_equal(ours, theirs)


def digests_of(images: np.ndarray) -> list[bytes]:
    """Of the pixels of each image."""
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


# --- .npz


def _of_npz(path: Path, made: dict) -> tuple[Arrays, Names]:
    if made["test_share"] is not None or made["channels"] is not None or made["resize"] is not None:
        raise DataError(f"{path}: a .npz is taken as it is; scale it in the study (data.resize)")
    held = unpacked(path)
    parts = [*PARTS, VAL] if made["val"] == "validation" else PARTS
    arrays: Arrays = {}
    for part in parts:
        for kind, short in KINDS:
            ours, theirs = f"{part}_{kind}", f"{short}_{part}"
            if ours in held and theirs in held:
                raise DataError(f"{path}: it has {ours} and {theirs}: leave one of them out")
            if ours not in held and theirs not in held:
                has = ", ".join(held) or "nothing"
                raise DataError(f"{path}: {ours} (or {theirs}) is missing; it has {has}")
            arrays[ours] = held[ours if ours in held else theirs]
    refuse([line for part in parts for line in _of_part(part, arrays)], path)
    for part in parts:
        arrays[f"{part}_images"] = channels_first(arrays[f"{part}_images"])
        arrays[f"{part}_labels"] = arrays[f"{part}_labels"].reshape(-1).astype(np.int64)
    shapes = {part: arrays[f"{part}_images"].shape[1:] for part in parts}
    for part in parts:
        if shapes[part] != shapes["train"]:
            raise DataError(
                f"{path}: images of {shapes['train']} in train and of {shapes[part]} in {part}"
            )
    return arrays, {
        part: [f"{part} image {index}" for index in range(len(arrays[f"{part}_labels"]))]
        for part in parts
    }


def has_validation(path: Path) -> bool:
    """Whether a .npz has validation images beside train and test. Raises DataError."""
    held = unpacked(path)
    return all(f"{VAL}_{kind}" in held or f"{short}_{VAL}" in held for kind, short in KINDS)


def unpacked(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a .npz. Raises DataError for one that is none, damaged, or a bomb."""
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(member.file_size for member in packed.infolist())
        if size > 2 * MAX_BYTES:
            raise ValueError(f"unpacked it has {size:,} bytes, at most {2 * MAX_BYTES:,} are read")
        with np.load(path, allow_pickle=False) as file:
            return {key: np.asarray(file[key]) for key in file.files}
    except Exception as error:  # zip, deflate and numpy's header, which is Python text, all have
        said = f"{type(error).__name__}: {error}"  # errors of their own
        if "pickle" in said:  # numpy advises to unpickle what is none
            said = "an array in it is of Python objects, or its header is damaged"
        raise DataError(
            f"{path} is damaged or no plain .npz file ({printable(said)[:200]}): write it with "
            "numpy.savez, images uint8 and labels whole numbers"
        ) from None


def _of_part(part: str, arrays: Arrays) -> list[str]:
    """What is wrong with images and labels by themselves."""
    images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    found = faults_of_images(f"{part} images", images)
    if labels.dtype.kind not in "iu" or labels.ndim == 0 or labels.size != len(labels):
        found.append(
            f"{part} labels are {labels.dtype} of shape {labels.shape}: one whole number each"
        )
    elif images.ndim and len(labels) != len(images):
        found.append(f"{part} has {len(images):,} images and {len(labels):,} labels")
    else:
        wrong = np.flatnonzero((labels.reshape(-1) < 0) | (labels.reshape(-1) >= 100_000))
        found += [
            f"{part} label {index} is {labels.reshape(-1)[index]}: 0 to 99,999"
            for index in wrong[:10]
        ]
    return found


def faults_of_images(what: str, images: np.ndarray) -> list[str]:
    """What is wrong with an array that should be images; `what` is how they are called."""
    found = []
    if images.dtype != np.uint8:
        found.append(f"{what} are {images.dtype}: whole numbers from 0 to 255 (uint8)")
    if images.ndim not in (3, 4) or images.size == 0:
        found.append(f"{what} have shape {images.shape}: (N, H, W), (N, H, W, C) or (N, C, H, W)")
    elif images.ndim == 4 and not {images.shape[1], images.shape[3]} & {1, 3}:
        found.append(f"{what} have shape {images.shape}: 1 or 3 channels are wanted")
    return found


def channels_first(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) of an array in which `faults_of_images` finds none."""
    if images.ndim == 3:
        return np.ascontiguousarray(images[:, None])
    if images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images)
