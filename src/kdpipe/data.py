"""Data sets: prepared once into plain arrays, then split the same way in every job.

`prepare` writes `results/data/<name>-<12 hex>/`: uint8 images (N, C, H, W) and int64 labels, as
.npy files that are memory-mapped, and their card last. `load` cuts train, validation and test
out of them as the study says. Validation is held out of train; label noise touches train alone.
Numpy only: the plan and the scoring of ensembles need no torch.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe import cards, store
from kdpipe.errors import DataError
from kdpipe.identity import stream

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Part:
    """Images (N, C, H, W) uint8 and labels (N,) int64."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Split:
    """What one run sees. `mean` and `std` (C,) are of the train images, in [0, 1]."""

    train: Part
    val: Part
    test: Part
    mean: np.ndarray
    std: np.ndarray
    classes: int


def prepare(card: cards.Card, place: store.Store) -> Path:
    """Write the prepared arrays of a data set; returns the path of their card.

    Raises DataError if they are not the arrays that the card describes.
    """
    folder = place.data(card.folder)
    with store.only_one(folder):
        arrays = SOURCES[card.name]()
        if digest(arrays) != card.sha256:
            raise DataError(
                f"data set {card.name}: the prepared images are not those of its card "
                f"(sha256 {digest(arrays)[:12]}, expected {card.sha256[:12]}): the source "
                f"({card.source}) is damaged or another version"
            )
        for name in ARRAYS:
            store.write_npy(folder / f"{name}.npy", arrays[name])
        store.write_json(folder / "card.json", asdict(card))
    return folder / "card.json"


def load(spec: dict, place: store.Store) -> Split:
    """The split that the `data` part of a run's spec describes. Raises DataError.

    Subset, validation and label noise are drawn from `split_seed` alone: every run of a study
    sees one split.
    """
    card = cards.load(spec["name"])
    arrays = _read(card, place)
    images, labels = arrays["train_images"], arrays["train_labels"]
    rng = np.random.RandomState(stream(spec["split_seed"], 0, 0, "", "split") % 2**32)
    order = _balanced_order(labels, rng)
    held_out = order[: spec["validation"]]
    rest = order[spec["validation"] :]
    chosen = np.sort(rest[: spec["train_size"]] if spec["train_size"] else rest)
    train = Part(images[chosen], _redrawn(labels[chosen], spec["label_noise"], card.classes, rng))
    val = Part(images[np.sort(held_out)], labels[np.sort(held_out)])
    pixels = train.images.astype(np.float64) / 255
    mean, std = pixels.mean(axis=(0, 2, 3)), pixels.std(axis=(0, 2, 3))
    test = Part(np.asarray(arrays["test_images"]), np.asarray(arrays["test_labels"]))
    return Split(train, val, test, mean, np.maximum(std, 1e-6), card.classes)


def digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of the arrays with their names, types and shapes, in a fixed order."""
    total = hashlib.sha256()
    for name in ARRAYS:
        array = np.ascontiguousarray(arrays[name])
        total.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        total.update(array.data)
    return total.hexdigest()


def _read(card: cards.Card, place: store.Store) -> dict[str, np.ndarray]:
    folder = place.data(card.folder)
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    except (OSError, ValueError) as error:
        raise DataError(
            f"data set {card.name} is missing or damaged in {folder} ({error}): remove the folder "
            "and run the study again"
        ) from None
    if digest(arrays) != card.sha256:
        raise DataError(
            f"data set {card.name}: the arrays in {folder} are not those of its card: remove the "
            "folder and run the study again"
        )
    return arrays


def _balanced_order(labels: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Indices in which every prefix holds the classes in (nearly) equal numbers."""
    shuffled = rng.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = np.arange(len(members))
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def _redrawn(labels: np.ndarray, share: float, classes: int, rng) -> np.ndarray:
    """Labels of which a share is drawn anew, uniformly over all classes."""
    labels = np.array(labels)
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    labels[chosen] = rng.randint(0, classes, size=len(chosen))
    return labels


def _digits() -> dict[str, np.ndarray]:
    """scikit-learn's 1,797 handwritten digits, 8x8, 17 grey levels (UCI optdigits, test part).

    They come without a split; 700 images, balanced over the classes, are the test set.
    """
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    images = (digits.images * 15).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    order = _balanced_order(labels, np.random.RandomState(0))
    test, train = np.sort(order[:700]), np.sort(order[700:])
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }


SOURCES: dict[str, Callable[[], dict[str, np.ndarray]]] = {"digits": _digits}
