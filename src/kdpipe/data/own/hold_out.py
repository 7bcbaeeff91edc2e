"""The test set that a folder lacks, held out of its classes: which of their files are test.

Always the same ones of the same files. Each class gives its share (`of_each`). A card from before
that was so means what it meant: as many of each class (`equally`).
"""

import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np

from kdpipe.data.arrays import balanced_order

BEGINNING = 2**16  # bytes by which files of one size are told apart

ByClass = list[list[Path]]


def of_each(by_class: ByClass, share: float) -> np.ndarray:
    """Which files (N,), class after class, are test: of each class its share, one at the least.

    Never its last one. Files that are alike stay in train, or the same image could be in both.
    """
    twins = _twins([file for files in by_class for file in files])
    rng = np.random.RandomState(0)
    held: set[Path] = set()
    for files in by_class:
        drawn = [files[index] for index in rng.permutation(len(files))]
        count = min(max(1, round(share * len(files))), len(files) - 1)
        held |= set([file for file in drawn if file not in twins][:count])
    return np.array([file in held for files in by_class for file in files], dtype=bool)


def equally(by_class: ByClass, share: float) -> np.ndarray:
    """Which files (N,), class after class, are test: as many of each class, while it has some."""
    counts = [len(files) for files in by_class]
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    order = balanced_order(labels, np.random.RandomState(0))
    count = min(max(1, round(share * len(labels))), len(labels) - len(counts))
    held = np.zeros(len(labels), dtype=bool)
    held[order[:count]] = True
    return held


def beginning(file: Path) -> bytes:
    """A digest of how a file begins: files of one size that share it are copies."""
    with file.open("rb") as opened:
        return hashlib.sha256(opened.read(BEGINNING)).digest()


def _twins(files: list[Path]) -> set[Path]:
    """Files of one size that begin alike: copies. Only those of one size are opened."""
    by_size: dict = defaultdict(list)
    for file in files:
        by_size[file.stat().st_size].append(file)
    alike: dict = defaultdict(list)
    for size, some in by_size.items():
        for file in some if len(some) > 1 else ():
            alike[size, beginning(file)].append(file)
    return {file for some in alike.values() if len(some) > 1 for file in some}
