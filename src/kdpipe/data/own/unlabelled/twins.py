"""Which images without labels are also images of the data set, or of each other.

Of arrays the pixels are compared, as they are prepared. Of images that stream the files are: their
size, and where two have the same their beginning.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Hashable
from pathlib import Path

import numpy as np

from kdpipe.data.arrays import Arrays
from kdpipe.data.own.hold_out import beginning
from kdpipe.data.own.reader import digests_of, parts_of
from kdpipe.data.own.unlabelled.images import PART

Twins = list[tuple[int, int]]  # of an image without label, and of the image that it is


class Compared:
    """Images without labels, by what makes two of them the same.

    `root` and `others` are the folders of the two listings, where images stream.
    """

    def __init__(
        self, arrays: Arrays, data: Arrays, root: Path | None = None, others: Path | None = None
    ):
        self.data = data
        self.others = others
        self.sizes: set[int] = set()
        if root is None:
            keys = digests_of(arrays[f"{PART}_images"])
        else:
            self.sizes = set(arrays[f"{PART}_sizes"].tolist())
            parts = [data[f"{part}_sizes"] for part in parts_of(data)]
            counted = Counter(arrays[f"{PART}_sizes"].tolist())
            alike = {size for size, count in counted.items() if count > 1}
            keys = _of_files(arrays, PART, root, alike | set(np.concatenate(parts).tolist()))
        self.count = len(keys)
        self.known: dict[Hashable, list[int]] = defaultdict(list)
        for index, key in enumerate(keys):
            self.known[key].append(index)

    @property
    def copies(self) -> int:
        """How many of them are the same as one before them."""
        return self.count - len(self.known)

    def of(self, part: str) -> Twins:
        """Those that are also in a part of the data set, and which image there."""
        if self.others is None:
            keys = digests_of(self.data[f"{part}_images"])
        else:
            keys = _of_files(self.data, part, self.others, self.sizes)
        return [(one, place) for place, key in enumerate(keys) for one in self.known.get(key, ())]


def _of_files(arrays: Arrays, part: str, root: Path, shared: set[int]) -> list[Hashable]:
    """Size and beginning of each file; only those of sizes that are `shared` are opened."""
    sizes, paths = arrays[f"{part}_sizes"].tolist(), arrays[f"{part}_paths"]
    return [
        (size, beginning(root / os.fsdecode(bytes(path))) if size in shared else (part, index))
        for index, (size, path) in enumerate(zip(sizes, paths, strict=True))
    ]
