"""Shares of test images: of one network, and of two on the same images.

Here the images are the units, and the networks are what they are: nothing is said of other seeds.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import special, stats


class Estimate(NamedTuple):
    """A value with its 95 % interval, in points."""

    value: float
    low: float
    high: float


def share(right: np.ndarray, level: float = 0.95) -> Estimate:
    """How often something is so, (images,) bool, with Wilson's score interval (1927)."""
    found = stats.binomtest(int(right.sum()), len(right)).proportion_ci(level, method="wilson")
    return Estimate(100 * float(right.mean()), 100 * found.low, 100 * found.high)


def difference(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> Estimate:
    """The share of a less that of b, (images,) bool of the same images.

    The interval is that of Agresti and Min (2005, Statistics in Medicine 24: 729-740): Wald's for
    matched pairs, with half an image added to each of the four cells. It has a width where the two
    never disagree, as Wald's has not.
    """
    n = len(a)
    ours, theirs = int((a & ~b).sum()), int((~a & b).sum())
    moved = (ours - theirs) / (n + 2)
    variance = ((ours + theirs + 1) / (n + 2) - moved**2) / (n + 2)
    half = float(special.ndtri((1 + level) / 2)) * math.sqrt(variance)
    return Estimate(100 * (ours - theirs) / n, 100 * (moved - half), 100 * (moved + half))
