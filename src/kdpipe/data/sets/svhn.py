"""TODO data.sets.svhn, from sources."""

import io

import numpy as np

from kdpipe.data.arrays import Arrays


def svhn(content: dict[str, bytes]) -> Arrays:
    """The .mat files of SVHN: X (32, 32, 3, N), y (N, 1) with 10 for the digit 0."""
    from scipy.io import loadmat

    arrays = {}
    for part in ("train", "test"):
        matrices = loadmat(io.BytesIO(content[f"{part}_32x32.mat"]), variable_names=["X", "y"])
        images = np.asarray(matrices["X"], np.uint8).transpose(3, 2, 0, 1)
        arrays[f"{part}_images"] = np.ascontiguousarray(images)
        arrays[f"{part}_labels"] = matrices["y"].astype(np.int64).reshape(-1) % 10
    return arrays
