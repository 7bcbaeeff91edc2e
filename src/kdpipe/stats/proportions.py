"""Proportions of test images: of one network, and of two on the same images.

The images are the units of analysis and the networks are fixed: nothing is inferred about other
seeds.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import special, stats


class ProportionEstimate(NamedTuple):
    """A proportion, or a difference of two, with its interval, in points."""

    value: float
    low: float
    high: float


def estimate_proportion(outcomes: np.ndarray, level: float = 0.95) -> ProportionEstimate:
    """Estimate a proportion with Wilson's score interval.

    Parameters
    ----------
    outcomes : ndarray of bool, shape (images,)
        Outcome of each image.
    level : float
        Confidence level.

    Returns
    -------
    ProportionEstimate
        The share of True, in points.

    References
    ----------
    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA, 1927.
    """
    interval = stats.binomtest(int(outcomes.sum()), len(outcomes)).proportion_ci(
        level, method="wilson"
    )
    return ProportionEstimate(100 * float(outcomes.mean()), 100 * interval.low, 100 * interval.high)


def estimate_paired_difference(
    a: np.ndarray, b: np.ndarray, level: float = 0.95
) -> ProportionEstimate:
    """Estimate the difference of two proportions on the same images, a less b.

    Half an image is added to each of the four cells of Wald's interval for matched pairs. Unlike
    Wald's, the interval has a width where the two never disagree.

    Parameters
    ----------
    a, b : ndarray of bool, shape (images,)
        Outcomes of the same images.
    level : float
        Confidence level.

    Returns
    -------
    ProportionEstimate
        The share of a less that of b, in points.

    References
    ----------
    A. Agresti and Y. Min, Simple improved confidence intervals for comparing matched proportions,
    Statistics in Medicine 24: 729-740, 2005.
    """
    n = len(a)
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    shift = (only_a - only_b) / (n + 2)
    variance = ((only_a + only_b + 1) / (n + 2) - shift**2) / (n + 2)
    half = float(special.ndtri((1 + level) / 2)) * math.sqrt(variance)
    return ProportionEstimate(
        100 * (only_a - only_b) / n, 100 * (shift - half), 100 * (shift + half)
    )
