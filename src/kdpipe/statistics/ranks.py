"""Which option comes first, second, ...: ranks by mean error, and how sure they are.

The seeds are drawn again with replacement, each draw for all options at once, so what the options
of one seed share stays shared; of several splits these are drawn too, each in every seed (the
pigeonhole bootstrap: Owen, 2007, never too narrow). Of few seeds or splits the percentiles of such
draws are too narrow: they are taken as far out as makes the interval of a single mean as wide as
its t interval (Hesterberg, 2015, section 4.1.3, the expanded percentile interval). Choices that
were made before are held.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from kdpipe.statistics import units
from kdpipe.statistics.intervals import FEWEST_SEEDS, Summary, summary

RESAMPLES = 5_000
FEWEST = 5  # seeds: of four there are only 35 different resamples
SEED = 0  # of the resampling: a report rendered again is the same


@dataclass(frozen=True)
class Rank:
    """The place of an option among `of`, 1 with the lowest error, ties in the middle.

    `low` to `high` holds it for 95 % of the draws of seeds; `best`: the share of the draws in which
    it comes first. All three are nan for fewer than five seeds, and of two splits.
    """

    rank: float
    of: int
    low: float = math.nan
    high: float = math.nan
    best: float = math.nan


def ranks(errors: pd.DataFrame) -> dict[str, Rank]:
    """The rank of each option that can have one. errors: (seeds, options).

    Options without any result have none; then only seeds that all the others have count, and of
    several splits only those with all of these.
    """
    known = errors.astype(float).dropna(axis=1, how="all").dropna()
    values = _crossed(known)
    if not values.size:
        return {}
    found, count = stats.rankdata(values.mean(axis=(0, 1))), len(known.columns)
    if not _enough(values):
        return {name: Rank(rank, count) for name, rank in zip(known, found.tolist(), strict=True)}
    means = _drawn(values)
    drawn = stats.rankdata(means, axis=1)
    low, high = np.quantile(drawn, _tails(values), axis=0, method="nearest")
    first = means == means.min(axis=1, keepdims=True)
    best = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    columns = zip(known, found.tolist(), low.tolist(), high.tolist(), best.tolist(), strict=True)
    return {name: Rank(rank, count, *rest) for name, rank, *rest in columns}


def rank_correlation(errors: pd.DataFrame, expected: pd.Series) -> tuple[pd.Series, Summary]:
    """Spearman's rho between errors and what was expected of the options.

    errors: (seeds, options); expected: by option. Returns the rho of each seed's own errors, and a
    summary whose mean is the rho of the mean errors, its interval from seeds (and splits) drawn
    again. Only seeds that have every option count; of fewer than five there is no interval.
    """
    known = errors.reindex(columns=expected.index).astype(float).dropna()
    rows, wanted = known.to_numpy(), expected.to_numpy(float)
    by_seed = pd.Series(_rho(rows, wanted) if len(rows) else [], index=known.index, dtype=float)
    s, values = summary(by_seed), _crossed(known)
    if not values.size:
        return by_seed, s
    rho = float(_rho(values.mean(axis=(0, 1))[None], wanted)[0])
    low = high = math.nan
    if _enough(values):
        low, high = np.quantile(_rho(_drawn(values), wanted), _tails(values)).tolist()
    return by_seed, replace(s, mean=rho, low=low, high=high)


def _crossed(errors: pd.DataFrame) -> np.ndarray:
    """(seeds, splits, options); seeds that lack one of the splits are left out."""
    places = units.grid(pd.Series(range(len(errors)), index=errors.index, dtype=float))
    return errors.to_numpy()[places.to_numpy(int)]


def _enough(values: np.ndarray) -> bool:
    """Whether there are enough seeds and splits to draw from; a single split is held."""
    return len(values) >= FEWEST and values.shape[1] not in range(2, FEWEST_SEEDS)


def _drawn(values: np.ndarray) -> np.ndarray:
    """(draws, options): the means over seeds, and over splits, drawn with replacement."""
    random = np.random.default_rng(SEED)
    seeds, splits = (
        random.multinomial(count, [1 / count] * count, size=RESAMPLES) / count
        for count in values.shape[:2]
    )
    means = np.einsum("ds,dt,sto->do", seeds, splits, values, optimize=True)
    return np.round(means, 9)  # ties stay ties


def _tails(values: np.ndarray) -> tuple[float, float]:
    """The shares of the draws below and above which an interval of 95 % ends.

    Of several splits it is as wide as the factor with the fewest levels asks.
    """
    fewest = min(count for count in values.shape[:2] if count > 1)
    wide = stats.t.ppf(0.975, fewest - 1) * math.sqrt(fewest / (fewest - 1))
    tail = float(stats.norm.sf(wide))
    return tail, 1 - tail


def _rho(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Spearman's rho of each row; 0 where all of a row is one."""
    ours, theirs = stats.rankdata(values, axis=1), stats.rankdata(wanted)
    ours, theirs = ours - ours.mean(axis=1, keepdims=True), theirs - theirs.mean()
    scale = np.sqrt((ours**2).sum(axis=1) * (theirs**2).sum())
    return np.divide(ours @ theirs, scale, out=np.zeros(len(ours)), where=scale > 0)
