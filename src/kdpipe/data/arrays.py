"""Plain arrays: what every data set becomes, told apart by a digest, and balanced over its classes.

Images are uint8 (N, C, H, W), labels int64 (N,), of train, of test, and of validation where that is
a part of the data and not held out of train.
"""

import hashlib
import json

import numpy as np

Arrays = dict[str, np.ndarray]
PARTS = ("train", "test")
VAL = "val"
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
VAL_ARRAYS = (f"{VAL}_images", f"{VAL}_labels")


def digest(arrays: Arrays, names: tuple[str, ...] = ARRAYS) -> str:
    """SHA-256 of the arrays with their names, types and shapes, in a fixed order."""
    total = hashlib.sha256()
    for name in names:
        _add(total, name, arrays[name])
    return total.hexdigest()


def array_digest(name: str, array: np.ndarray) -> str:
    """SHA-256 of one array with its name, type and shape."""
    total = hashlib.sha256()
    _add(total, name, array)
    return total.hexdigest()


def _add(total, name: str, array: np.ndarray) -> None:
    array = np.ascontiguousarray(array)
    total.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
    total.update(array.data)


def balanced_order(labels: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Indices in which every prefix holds the classes in (nearly) equal numbers."""
    shuffled = rng.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = np.arange(len(members))
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def proportional_order(labels: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Indices in which every prefix holds of each class (nearly) the same share."""
    order = balanced_order(labels, rng)
    drawn = labels[order]
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(drawn == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(place, kind="stable")]
