"""Which option comes first, second, ...: ranks by mean error, and how sure they are.

The seeds are drawn again with replacement, each draw for all options at once, so what the options
of one seed share stays shared. Of few seeds the percentiles of such draws are too narrow: they are
taken as far out as makes the interval of a single mean as wide as its t interval (Hesterberg,
2015, section 4.1.3, the expanded percentile interval). Choices that were made before are held.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from kdpipe.statistics.intervals import Summary, summary

RESAMPLES = 5_000
FEWEST = 5  # seeds: of four there are only 35 different resamples
SEED = 0  # of the resampling: a report rendered again is the same


@dataclass(frozen=True)
class Rank:
    """The place of an option among `of`, 1 with the lowest error, ties in the middle.

    `low` to `high` holds it for 95 % of the draws of seeds; `best`: the share of the draws in which
    it comes first. All three are nan for fewer than five seeds.
    """

    rank: float
    of: int
    low: float = math.nan
    high: float = math.nan
    best: float = math.nan


def ranks(errors: pd.DataFrame) -> dict[str, Rank]:
    """The rank of each option that can have one. errors: (seeds, options).

    Options without any result have none; then only seeds that all the others have count.
    """
    known = errors.astype(float).dropna(axis=1, how="all").dropna()
    if known.empty:
        return {}
    values = known.to_numpy()
    found, count = stats.rankdata(values.mean(axis=0)), len(known.columns)
    if len(values) < FEWEST:
        return {name: Rank(rank, count) for name, rank in zip(known, found.tolist(), strict=True)}
    means = _drawn(values)
    drawn = stats.rankdata(means, axis=1)
    low, high = np.quantile(drawn, _tails(len(values)), axis=0, method="nearest")
    first = means == means.min(axis=1, keepdims=True)
    best = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    columns = zip(known, found.tolist(), low.tolist(), high.tolist(), best.tolist(), strict=True)
    return {name: Rank(rank, count, *rest) for name, rank, *rest in columns}


def rank_correlation(errors: pd.DataFrame, expected: pd.Series) -> tuple[pd.Series, Summary]:
    """Spearman's rho between errors and what was expected of the options.

    errors: (seeds, options); expected: by option. Returns the rho of each seed's own errors, and a
    summary whose mean is the rho of the mean errors, its interval from seeds drawn again. Only
    seeds that have every option count; of fewer than five there is no interval.
    """
    known = errors[list(expected.index)].astype(float).dropna()
    values, wanted = known.to_numpy(), expected.to_numpy(float)
    by_seed = pd.Series(_rho(values, wanted) if len(values) else [], index=known.index, dtype=float)
    s = summary(by_seed)
    if not s.n:
        return by_seed, s
    rho = float(_rho(values.mean(axis=0)[None], wanted)[0])
    low = high = math.nan
    if s.n >= FEWEST:
        low, high = np.quantile(_rho(_drawn(values), wanted), _tails(s.n)).tolist()
    return by_seed, Summary(s.n, rho, s.sd, low, high, s.median)


def _drawn(values: np.ndarray) -> np.ndarray:
    """(draws, options): the means over seeds drawn with replacement."""
    seeds = len(values)
    random = np.random.default_rng(SEED)
    counts = random.multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES)
    return np.round(counts @ values / seeds, 9)  # ties stay ties


def _tails(seeds: int) -> tuple[float, float]:
    """The shares of the draws below and above which an interval of 95 % ends."""
    wide = stats.t.ppf(0.975, seeds - 1) * math.sqrt(seeds / (seeds - 1))
    tail = float(stats.norm.sf(wide))
    return tail, 1 - tail


def _rho(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Spearman's rho of each row; 0 where all of a row is one."""
    ours, theirs = stats.rankdata(values, axis=1), stats.rankdata(wanted)
    ours, theirs = ours - ours.mean(axis=1, keepdims=True), theirs - theirs.mean()
    scale = np.sqrt((ours**2).sum(axis=1) * (theirs**2).sum())
    return np.divide(ours @ theirs, scale, out=np.zeros(len(ours)), where=scale > 0)
