"""Which images are taken: in equal numbers from each class, drawn from a seed."""

import numpy as np


def balanced_order(labels: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Indices in which every prefix holds the classes in (nearly) equal numbers."""
    shuffled = rng.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = np.arange(len(members))
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def redrawn(
    labels: np.ndarray, share: float, classes: int, rng: np.random.RandomState
) -> np.ndarray:
    """Labels of which a share is drawn anew, uniformly over all classes."""
    labels = np.array(labels)
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    labels[chosen] = rng.randint(0, classes, size=len(chosen))
    return labels
