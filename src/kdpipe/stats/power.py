"""Power of one-sided t tests, and the seeds or effects that a power requires.

With an effect of e standard errors the t statistic has the non-central t distribution with that
parameter, so the power at an error rate a is P(T(df, e) > t(1 - a, df)). In a family of several
tests the error rate is that of Holm's first step, the rate of the family over their number; in a
claim that needs all of k contrasts each gets the power 1 - (1 - power) / k (Bonferroni). Where a
study is planned its contrasts are simulated together (`simulate_joint_power`), since those that
share runs hold together.

The power of a contrast (`compute_contrast_power`) accounts for both of its intervals. What will be
measured is a mean and, independent of it, its variance: chi-squared over its degrees of freedom, of
the seeds and of the splits. Given the variance, it is settled how wide the wider of the two
intervals is (over seeds, over seeds and images) and whether a difference of delta would have been
detected, and the power is the probability that a normal mean lies beyond a bound. It is summed over
the variances, by Gauss-Legendre quadrature of chi. With seeds alone and the hypothesis `above` this
is the non-central t. The images' part of the variance is taken as known: there are hundreds of
them.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special
from scipy.interpolate import PchipInterpolator

from kdpipe.stats.intervals import MIN_SEEDS
from kdpipe.stats.t_dist import t_ppf

POWER = 0.8
LEVEL = 0.05
SEEDS_LIMIT = 1_000_000  # seeds; more is never
MAX_SEEDS = 10_000  # seeds
NORMAL_DF = 1000  # degrees of freedom, beyond which t is as good as normal
MAX_DF = 1e5  # degrees of freedom, beyond which t is normal
SEED_NODES, SEED_SPLIT_NODES = 512, 96  # of seeds alone, and of each of seeds and splits
DOUBT_NODES = 40  # variances that a pilot leaves open
N_STUDIES = 4_000  # that are simulated for contrasts together
MAX_DRAWN_DF = 100  # degrees of freedom of drawn variances; more are as good as normal
CHI_RANGE = 7.0  # from the middle of chi, whose standard deviation is below 0.71


def compute_power(effect: float, se: float, df: float, level: float = LEVEL) -> float:
    """Compute the power of a one-sided t test.

    Parameters
    ----------
    effect : float
        True mean, in the unit of `se`.
    se : float
        Standard error of the mean.
    df : float
        Degrees of freedom.
    level : float
        One-sided error rate.

    Returns
    -------
    float
        The power; nan if the effect or its standard error is unknown.
    """
    if math.isnan(effect) or math.isnan(se) or df < 1:
        return math.nan
    if se == 0:
        return float(effect > 0)
    return 1.0 - float(special.nctdtr(df, effect / se, t_ppf(1 - level, df)))


def find_detectable_effect(se: float, df: float, level: float = LEVEL) -> float:
    """Find the smallest effect that a one-sided t test detects with a power of `POWER`.

    Parameters
    ----------
    se : float
        Standard error of the mean.
    df : float
        Degrees of freedom.
    level : float
        One-sided error rate.

    Returns
    -------
    float
        The effect, in the unit of `se`; nan if that is unknown.
    """
    if math.isnan(se) or df < 1:
        return math.nan
    critical = t_ppf(1 - level, df)
    return se * float(special.nctdtrinc(df, 1 - POWER, critical)) if se else 0.0


def find_seeds_needed(
    sd: float,
    effect: float,
    power: float = POWER,
    level: float = LEVEL,
    fixed: float = 0.0,
    df: Callable[[int], float] = lambda seeds: seeds - 1.0,
) -> int | None:
    """Find the smallest number of seeds at which a one-sided t test detects an effect.

    Parameters
    ----------
    sd : float
        Standard deviation over seeds of the paired differences.
    effect : float
        Mean difference, in the same unit.
    power : float
        Power that is required.
    level : float
        One-sided error rate.
    fixed : float
        Variance of the mean that no seed takes away, that of test images and of splits.
    df : callable
        Returns the degrees of freedom at a number of seeds, which a few splits keep down.

    Returns
    -------
    int or None
        Number of seeds; None if none is enough: no effect, an unknown sd, too few images or splits.
    """
    if math.isnan(sd) or math.isnan(effect) or effect == 0:
        return None
    z = t_ppf(1 - level, math.inf) + t_ppf(power, math.inf)
    allowed_variance = (
        abs(effect) / z
    ) ** 2 - fixed  # what is left for sd^2 / n, of the normal distribution
    if allowed_variance <= 0 or sd**2 / allowed_variance > SEEDS_LIMIT:
        return None

    def is_enough(n: int) -> bool:
        se = math.sqrt(sd**2 / n + fixed)
        return df(n) >= NORMAL_DF or compute_power(abs(effect), se, df(n), level) >= power

    high = max(MIN_SEEDS, math.ceil(sd**2 / allowed_variance))  # the normal answer: never too many
    low = high - 1
    while not is_enough(high):
        if high > NORMAL_DF and sd**2 / high < fixed / NORMAL_DF:  # more seeds change nothing
            return None
        low, high = high, high + max(1, high // 10)  # df, and with it the power, may fall again
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Spread:
    """How far paired differences vary, as variances in points squared.

    An unknown variance is 0; with one split `seed` has all but the images.

    Attributes
    ----------
    seed : float
        Variance of one seed in one split.
    split : float
        Variance of the splits' own means.
    both : float
        Variance of a seed in a split beyond these two.
    images : float
        Variance of the mean from the finite number of test images.
    df : float
        Degrees of freedom with which a pilot estimated the others; infinite where they are given.
        A power is then the mean over what that leaves open (assurance: O'Hagan, Stevens and
        Campbell, 2005).
    """

    seed: float
    split: float = 0.0
    both: float = 0.0
    images: float = 0.0
    df: float = math.inf

    def scale(self, factor: Any) -> "Spread":
        """Return a spread that is known, its variances but that of the images times a factor."""
        return Spread(
            self.seed * factor, self.split * factor, self.both * factor, self.images, math.inf
        )


def compute_contrast_power(
    hypothesis: str,
    effect: float,
    delta: float,
    spread: Spread,
    seeds: int,
    splits: int,
    rate: float,
    groups: int = 1,
) -> float:
    """Compute the power of a contrast: the probability that it comes out as claimed.

    Parameters
    ----------
    hypothesis : {'above', 'not better', 'same', 'within'}
        What is claimed of the difference (see `analysis.contrasts`); of `same` the true effect is
        0. `within`: its interval is inside ±delta.
    effect : float
        True effect, in points.
    delta : float
        Smallest effect of interest, in points.
    spread : Spread
        Variances of the paired differences.
    seeds, splits : int
        Number of seeds, three and more, and of splits, one or three and more.
    rate : float
        Error rate of one one-sided test.
    groups : int
        Groups of seeds within which the variance of seeds is estimated: two where two halves choose
        for each other.

    Returns
    -------
    float
        The power.
    """
    if math.isfinite(spread.df):
        powers = [
            compute_contrast_power(
                hypothesis, effect, delta, spread.scale(factor), seeds, splits, rate, groups
            )
            for factor in _compute_doubt_factors(spread.df, DOUBT_NODES)
        ]
        return float(np.mean(powers))
    nodes = SEED_NODES if splits == 1 else SEED_SPLIT_NODES
    seed_factors, weights = _compute_chi_squared_nodes(seeds - groups, nodes)
    split_factors = None
    if splits > 1:
        split_factors, split_weights = _compute_chi_squared_nodes(splits - 1, nodes)
        seed_factors, weights = seed_factors[:, None], weights[:, None] * split_weights
    half_width, detectable, se = _compute_bounds(
        spread, seeds, splits, rate, groups, seed_factors, split_factors
    )
    powers = _compute_conditional_power(hypothesis, effect, delta, half_width, detectable, se)
    return float((weights * powers).sum())


@dataclass(frozen=True)
class PlannedContrast:
    """A contrast of which the power is asked together with others.

    Attributes
    ----------
    hypothesis, delta, groups
        As in `compute_contrast_power`.
    """

    hypothesis: str
    delta: float
    groups: int = 1


def simulate_joint_power(
    contrasts: Sequence[PlannedContrast],
    correlation: np.ndarray,
    effect: float,
    spread: Spread,
    seeds: int,
    splits: int,
    rate: float,
) -> float:
    """Simulate how often several contrasts come out as claimed, all of them in one study.

    Parameters
    ----------
    contrasts : sequence of PlannedContrast
        The contrasts, of one effect and one spread.
    correlation : ndarray of float, shape (contrasts, contrasts)
        Of their values at one seed: those that share runs are alike.
    effect, spread, seeds, splits, rate
        As in `compute_contrast_power`.

    Returns
    -------
    float
        The share of `N_STUDIES` studies, always the same ones.
    """
    rng, count = np.random.default_rng(0), len(contrasts)
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    if math.isfinite(spread.df):
        factors = rng.permutation(_compute_doubt_factors(spread.df, N_STUDIES))
        spread = spread.scale(factors[:, None])
    min_groups = min(contrast.groups for contrast in contrasts)
    z = rng.normal(size=(N_STUDIES, count)) @ root.T
    seed_factors = _draw_variance_factors(rng, seeds - min_groups, root)
    split_factors = _draw_variance_factors(rng, splits - 1, root) if splits > 1 else None
    holds = np.ones(N_STUDIES, bool)
    for i, contrast in enumerate(contrasts):
        half_width, detectable, se = _compute_bounds(
            spread,
            *(seeds, splits, rate, contrast.groups),
            seed_factors[:, i : i + 1],
            None if split_factors is None else split_factors[:, i : i + 1],
        )
        true = 0.0 if contrast.hypothesis == "same" else effect
        mean = true + se * z[:, i : i + 1]
        holds &= _find_holding(contrast, mean, half_width, detectable)[:, 0]
    return float(holds.mean())


def _find_holding(
    contrast: PlannedContrast, mean: np.ndarray, half_width: np.ndarray, detectable: np.ndarray
) -> np.ndarray:
    """Return whether means come out as claimed."""
    if contrast.hypothesis == "above":
        return mean > half_width
    if contrast.hypothesis == "not better":
        return mean > half_width - contrast.delta * (detectable < contrast.delta)
    is_within = np.abs(mean) < contrast.delta - half_width
    return is_within & (detectable < contrast.delta) if contrast.hypothesis == "same" else is_within


def _draw_variance_factors(rng: np.random.Generator, df: int, root: np.ndarray) -> np.ndarray:
    """Draw estimated variances over the true ones, of contrasts that are correlated."""
    count = len(root)
    if df > MAX_DRAWN_DF:  # as good as normal; the correlation of squares is the square of theirs
        values, vectors = np.linalg.eigh((root @ root.T) ** 2)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return np.maximum(
            1 + math.sqrt(2 / df) * rng.normal(size=(N_STUDIES, count)) @ root.T, 0.01
        )
    return ((rng.normal(size=(N_STUDIES, df, count)) @ root.T) ** 2).mean(axis=1)


def _compute_doubt_factors(df: float, count: int) -> np.ndarray:
    """Return how many times as large the true variance may be as one estimated with that df.

    The midpoints of as many equally likely parts of df / chi-squared (the variance given its
    estimate, with the prior 1 / variance).
    """
    shares = (np.arange(count) + 0.5) / count
    return df / special.chdtri(df, shares)


def _compute_bounds(
    spread: Spread,
    seeds: int,
    splits: int,
    rate: float,
    groups: int,
    seed_factors: np.ndarray,
    split_factors: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute half the interval's width, the detectable effect, and the true se of the mean.

    The factors are what is estimated of the variances of seeds and of splits over the true ones.
    """
    seed_df = seeds - groups
    both_variance = spread.both / splits / seeds
    seed_variance = spread.seed / seeds + both_variance
    split_variance = spread.split / splits + both_variance
    mean_variance, min_df = seed_variance * seed_factors, seed_df
    variance_of_variance = mean_variance**2 / seed_df
    if split_factors is not None:
        mean_square = split_variance * split_factors
        mean_variance = mean_variance + np.maximum(mean_square - both_variance, 0.0)
        min_df = min(min_df, splits - 1)
        variance_of_variance = variance_of_variance + mean_square**2 / (splits - 1)
        variance_of_variance = variance_of_variance + both_variance**2 / (seed_df * (splits - 1))
    half_width, detectable = np.zeros_like(mean_variance), np.zeros_like(mean_variance)
    for variance in (mean_variance, mean_variance + spread.images):
        df = np.clip(variance**2 / variance_of_variance, min_df, MAX_DF)
        se = np.sqrt(variance)
        half_width = np.maximum(half_width, special.stdtrit(df, 1 - rate) * se)
        detectable = np.maximum(detectable, _find_detectable_effects(df, rate) * se)
    total_variance = spread.seed / seeds + both_variance + spread.images
    total_variance = total_variance + (spread.split / splits if splits > 1 else 0.0)
    return half_width, detectable, np.sqrt(total_variance)


def find_min_seeds(
    power_at: Callable[[int], float], power: float = POWER, minimum: int = MIN_SEEDS
) -> int | None:
    """Find the smallest number of seeds with a power that rises with them.

    Parameters
    ----------
    power_at : callable
        Returns the power at a number of seeds.
    power : float
        Power that is required.
    minimum : int
        Smallest number of seeds to consider.

    Returns
    -------
    int or None
        Number of seeds; None if `MAX_SEEDS` are not enough.
    """
    low, high = minimum - 1, minimum
    while power_at(high) < power:
        low, high = high, 2 * high
        if high > MAX_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_at(middle) >= power else (middle, high)
    return high


def _compute_conditional_power(
    hypothesis: str,
    effect: float,
    delta: float,
    half_width: np.ndarray,
    detectable: np.ndarray,
    se: np.ndarray,
) -> np.ndarray:
    """Compute the power given each variance.

    `bound` is half the width of the interval, `detectable` the effect that is detected.
    """
    if hypothesis == "above":
        return special.ndtr((effect - half_width) / se)
    if hypothesis == "within":
        above = special.ndtr((delta - half_width - effect) / se)
        return np.maximum(above - special.ndtr((half_width - delta - effect) / se), 0.0)
    if hypothesis == "not better":  # where it would not have been seen it has to be above 0
        return special.ndtr((effect - half_width + delta * (detectable < delta)) / se)
    return np.maximum(2 * special.ndtr((delta - half_width) / se) - 1, 0.0) * (detectable < delta)


@functools.lru_cache(maxsize=64)
def _compute_chi_squared_nodes(df: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return quadrature nodes and weights of a chi-squared variable over its df."""
    low, high = max(0.0, math.sqrt(df) - CHI_RANGE), math.sqrt(df) + CHI_RANGE
    points, widths = _compute_legendre_nodes(nodes)
    chi = low + (high - low) * (points + 1) / 2
    log = (df - 1) * np.log(chi) - chi**2 / 2
    weights = widths * np.exp(log - log.max())
    return chi**2 / df, weights / weights.sum()


_compute_legendre_nodes = functools.lru_cache(maxsize=2)(np.polynomial.legendre.leggauss)


def _find_detectable_effects(df: np.ndarray, rate: float) -> np.ndarray:
    """Return detectable effects in standard errors (see `find_detectable_effect`)."""
    if df.min() == df.max():
        return np.full_like(df, find_detectable_effect(1.0, float(df.min()), rate))
    return _fit_detectable_curve(rate)(np.log(df))


@functools.lru_cache(maxsize=64)
def _fit_detectable_curve(rate: float) -> PchipInterpolator:
    """Interpolate the detectable effect over the logarithm of df."""
    dfs = np.geomspace(2, MAX_DF, 64)
    return PchipInterpolator(np.log(dfs), [find_detectable_effect(1.0, df, rate) for df in dfs])
