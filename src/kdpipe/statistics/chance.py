"""The chance that a study of so many seeds shows what is asked of one paired difference.

What will be measured is a mean and, apart from it, its variance: chi-squared over its degrees of
freedom, of the seeds and of the splits. Given the variance, it is settled how wide the wider of the
two intervals is (over seeds, over seeds and images) and whether a difference of delta would have
been seen, and the chance is that of a normal mean to lie beyond a bound. It is summed over the
variances, by Gauss-Legendre quadrature of chi. Of seeds alone and `above` this is the non-central t
of `power`. The images' part of the variance is taken as known: there are hundreds of them.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.interpolate import PchipInterpolator

from kdpipe.statistics.intervals import FEWEST_SEEDS
from kdpipe.statistics.power import POWER, detectable

NODES, OF_BOTH = 512, 96  # of seeds alone, and of each of seeds and splits
FAR = 7.0  # from the middle of chi, whose standard deviation is below 0.71
MOST = 10_000  # seeds
ENDLESS = 1e5  # degrees of freedom, beyond which t is normal


@dataclass(frozen=True)
class Spread:
    """How far paired differences lie apart, as variances in points².

    `seed`: of one seed in one split; `split`: of the splits' own means, and `both`: of a seed in a
    split beside these two; `images`: of the mean, from there being so many test images. 0 is also
    what is not known; of one split `seed` has all but the images.
    """

    seed: float
    split: float = 0.0
    both: float = 0.0
    images: float = 0.0


def chance(
    asks: str, effect: float, delta: float, spread: Spread, seeds: int, splits: int, rate: float
) -> float:
    """That a contrast (see evidence.contrasts) comes out as claimed, if that is its true effect.

    asks: above, not better, or same, whose true effect is 0. rate: of one one-sided test. seeds,
    and splits if there are several: three and more.
    """
    of_both = spread.both / splits / seeds
    of_seeds, of_splits = spread.seed / seeds + of_both, spread.split / splits + of_both
    nodes = NODES if splits == 1 else OF_BOTH
    by_seed, weights = _chi_squared(seeds - 1, nodes)
    drawn, fewest = of_seeds * by_seed, seeds - 1
    uncertain = drawn**2 / (seeds - 1)
    if splits > 1:
        by_split, others = _chi_squared(splits - 1, nodes)
        weights = weights[:, None] * others
        mean_square = of_splits * by_split
        drawn = drawn[:, None] + np.maximum(mean_square - of_both, 0.0)
        fewest = min(fewest, splits - 1)
        uncertain = uncertain[:, None] + mean_square**2 / (splits - 1)
        uncertain = uncertain + of_both**2 / ((seeds - 1) * (splits - 1))
    bound, seen = np.zeros_like(drawn), np.zeros_like(drawn)
    for variance in (drawn, drawn + spread.images):
        df = np.clip(variance**2 / uncertain, fewest, ENDLESS)
        se = np.sqrt(variance)
        bound = np.maximum(bound, special.stdtrit(df, 1 - rate) * se)
        seen = np.maximum(seen, _detectable(df, rate) * se)
    of_mean = spread.seed / seeds + of_both + spread.images
    of_mean += spread.split / splits if splits > 1 else 0.0
    found = _beyond(asks, effect, delta, bound, seen, math.sqrt(of_mean))
    return float((weights * found).sum())


def fewest(
    chance: Callable[[int], float], power: float = POWER, least: int = FEWEST_SEEDS
) -> int | None:
    """The smallest number of seeds, from `least` on, with a chance that rises with them.

    None where `MOST` are not enough.
    """
    low, high = least - 1, least
    while chance(high) < power:
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(middle) >= power else (middle, high)
    return high


def _beyond(
    asks: str, effect: float, delta: float, bound: np.ndarray, seen: np.ndarray, se: float
) -> np.ndarray:
    """The chances by variance. bound: half of the interval; seen: the effect that is detected."""
    if asks == "above":
        return special.ndtr((effect - bound) / se)
    if asks == "not better":  # where it would not have been seen it has to be above 0
        return special.ndtr((effect - bound + delta * (seen < delta)) / se)
    return np.maximum(2 * special.ndtr((delta - bound) / se) - 1, 0.0) * (seen < delta)


@functools.lru_cache(maxsize=64)
def _chi_squared(df: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of a chi-squared variable over its degrees of freedom, and their weights."""
    low, high = max(0.0, math.sqrt(df) - FAR), math.sqrt(df) + FAR
    places, widths = _legendre(nodes)
    chi = low + (high - low) * (places + 1) / 2
    log = (df - 1) * np.log(chi) - chi**2 / 2
    weights = widths * np.exp(log - log.max())
    return chi**2 / df, weights / weights.sum()


_legendre = functools.lru_cache(maxsize=2)(np.polynomial.legendre.leggauss)


def _detectable(df: np.ndarray, rate: float) -> np.ndarray:
    """What is detected, in standard errors (see power.detectable)."""
    if df.min() == df.max():
        return np.full_like(df, detectable(1.0, float(df.min()), rate))
    return _curve(rate)(np.log(df))


@functools.lru_cache(maxsize=64)
def _curve(rate: float) -> PchipInterpolator:
    of = np.geomspace(2, ENDLESS, 64)
    return PchipInterpolator(np.log(of), [detectable(1.0, df, rate) for df in of])
