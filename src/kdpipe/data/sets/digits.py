"""TODO data.sets.digits, from sources."""

from typing import Any

import numpy as np

from kdpipe.data.arrays import Arrays, balanced_order

# --- formats


def digits(_: dict[str, bytes]) -> Arrays:
    """scikit-learn's 1,797 handwritten digits, 8x8, 17 grey levels (UCI optdigits, test part).

    They come without a split; 700 images, balanced over the classes, are the test set.
    """
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    images = (digits.images * 15).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    order = balanced_order(labels, np.random.RandomState(0))
    test, train = np.sort(order[:700]), np.sort(order[700:])
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }
