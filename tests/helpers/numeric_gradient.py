"""The gradient of a function of NumPy arrays, by differences: it shares no line with autograd."""

from collections.abc import Callable

import numpy as np

STEP = 1e-6


def numeric_gradient(function: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    """Central differences at x, float64, one number at a time."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        ends = []
        for step in (STEP, -STEP):
            moved = x.copy()
            moved[index] += step
            ends.append(function(moved))
        gradient[index] = (ends[0] - ends[1]) / (2 * STEP)
    return gradient
