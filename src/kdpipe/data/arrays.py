"""Hashes, statistics and balanced orders of data sets as plain arrays.

Images are uint8 (N, C, H, W) and labels int64 (N,), of train, test and, for data with a fixed
validation set, of validation.
"""

import hashlib
import json

import numpy as np

Arrays = dict[str, np.ndarray]
PARTS = ("train", "test")
VAL = "val"
ARRAY_NAMES = ("train_images", "train_labels", "test_images", "test_labels")
VAL_ARRAY_NAMES = (f"{VAL}_images", f"{VAL}_labels")
MAX_FLOAT_PIXELS = 2**24  # pixels converted to float64 at a time


def hash_arrays(arrays: Arrays, names: tuple[str, ...] = ARRAY_NAMES) -> str:
    """Return the SHA-256 of arrays with their names, types and shapes.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The arrays by name.
    names : tuple of str
        Names of the arrays to hash, in this order.
    """
    hasher = hashlib.sha256()
    for name in names:
        _update_hash(hasher, name, arrays[name])
    return hasher.hexdigest()


def hash_array(name: str, array: np.ndarray) -> str:
    """Return the SHA-256 of one array with its name, type and shape."""
    hasher = hashlib.sha256()
    _update_hash(hasher, name, array)
    return hasher.hexdigest()


def _update_hash(hasher, name: str, array: np.ndarray) -> None:
    """Add an array with its name, type and shape to a hash."""
    array = np.ascontiguousarray(array)
    hasher.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
    hasher.update(array.data)


def draw_balanced_order(labels: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Draw an order whose prefixes all have (nearly) equally many images of each class.

    Parameters
    ----------
    labels : ndarray of shape (N,)
        The class of each image.
    rng : RandomState
        The generator that the order is drawn with.

    Returns
    -------
    ndarray of shape (N,)
        Indices of the images.
    """
    shuffled = rng.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = np.arange(len(members))
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def draw_proportional_order(labels: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Draw an order whose prefixes all have (nearly) the same class proportions.

    Parameters
    ----------
    labels : ndarray of shape (N,)
        The class of each image.
    rng : RandomState
        The generator that the order is drawn with.

    Returns
    -------
    ndarray of shape (N,)
        Indices of the images.
    """
    order = draw_balanced_order(labels, rng)
    ordered_labels = labels[order]
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(ordered_labels == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(position, kind="stable")]


def compute_mean_std(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation of each channel, of pixels in [0, 1].

    Parameters
    ----------
    images : ndarray of shape (N, C, H, W)
        Pixels, uint8.

    Returns
    -------
    mean, std : list of float
        One number per channel.
    """
    if images.size <= MAX_FLOAT_PIXELS:
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
