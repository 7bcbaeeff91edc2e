"""The handwritten digits of scikit-learn: small enough to try everything on."""

from typing import Any

from kdpipe.data.cards import DatasetCard, KnownDataset


def read_arrays(_: dict[str, bytes]) -> dict:
    """Return the 1,797 images, 8 x 8, of 17 grey levels (UCI optdigits, test part).

    They have no official split; 700 images, balanced over the classes, are the test set.
    """
    import numpy as np
    from sklearn.datasets import load_digits

    from kdpipe.data.arrays import draw_balanced_order

    digits: Any = load_digits()
    images = (digits.images * 15).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    order = draw_balanced_order(labels, np.random.RandomState(0))
    test, train = np.sort(order[:700]), np.sort(order[700:])
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }


DATASET = KnownDataset(
    card=DatasetCard(
        name="digits",
        title="Handwritten digits",
        source="scikit-learn's load_digits: the test part of UCI optdigits",
        shape=(1, 8, 8),
        classes=10,
        train=1097,
        test=700,
        sha256="09bb0131d61d631fc94012e98c90420971b2ef03b72420ca897ec7887e8830eb",
    ),
    revision=1,
    read=read_arrays,
)
