"""Scaling as torch does it where a study says `data.resize`, without torch.

`interpolate(mode="bilinear", antialias=True)` in float32: a triangle as wide as the scale, along
the rows, then along the columns; products are added one after another, each sum rounded once (a
fused multiply-add). PIL's sums are in float64, and the few that fall on the middle of two levels
then round to the other one.
"""

import numpy as np


def scaled(image: np.ndarray, side: int) -> np.ndarray:
    """An image (C, H, W) uint8 as (C, side, side) uint8."""
    rows = _along(image.astype(np.float32), side)
    both = _along(rows.swapaxes(1, 2), side).swapaxes(1, 2)
    return both.round().clip(0, 255).astype(np.uint8)


def _along(x: np.ndarray, side: int) -> np.ndarray:
    """(C, N, M) float32 scaled along its last axis."""
    found = np.empty((*x.shape[:-1], side), np.float32)
    for place, (first, weights) in enumerate(_weights(x.shape[-1], side)):
        total = x[..., first] * weights[0]
        for offset, weight in enumerate(weights[1:].astype(np.float64), 1):
            taken = x[..., first + offset].astype(np.float64)
            total = (total + taken * weight).astype(np.float32)
        found[..., place] = total
    return found


def _weights(length: int, side: int) -> list[tuple[int, np.ndarray]]:
    """For each new pixel the first old one that it is made of, and the weights from there on."""
    single = np.float32
    scale, half = single(length) / single(side), single(0.5)
    reach = max(scale, single(1))
    found = []
    for place in range(side):
        centre = scale * (single(place) + half)
        first = max(int(centre - reach + half), 0)
        last = min(int(centre + reach + half), length)
        apart = np.arange(first, last, dtype=np.float32) - centre + half
        weights = np.maximum(single(0), single(1) - np.abs(apart * (single(1) / reach)))
        total = single(0)
        for weight in weights:
            total += weight
        found.append((first, weights / total))
    return found
