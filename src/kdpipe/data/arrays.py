"""Plain arrays: what every data set becomes, told apart by a digest, measured, and put in order.

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
AT_ONCE = 2**24  # pixels: more are not turned into float64 all together


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


def statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""
    if images.size <= AT_ONCE:
        pixels = images.astype(np.float64) / 255
        return pixels.mean(axis=(0, 2, 3)).tolist(), pixels.std(axis=(0, 2, 3)).tolist()
    values, mean, std = np.arange(256) / 255, [], []
    for channel in range(images.shape[1]):
        counts = sum(
            np.bincount(images[start : start + 1000, channel].reshape(-1), minlength=256)
            for start in range(0, len(images), 1000)
        )
        mean.append(float(np.average(values, weights=counts)))
        std.append(float(np.average((values - mean[-1]) ** 2, weights=counts) ** 0.5))
    return mean, std
