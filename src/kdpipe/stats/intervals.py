"""Means, paired differences, tests, and choices without the tested seed.

The unit of analysis is the seed, or a seed in a split if a study has several (see `replicates`):
seeds and splits are then crossed, and the variance of a mean has components of both. Functions take
plain sequences, or series indexed by replicate, and return plain numbers; what is compared with
what is decided by tables and claims. The t distribution is used throughout: with five seeds no sign
or rank test can get below 1/32. Values without spread (sd 0) are the limit of the t formulas: an
interval of no width, p 0 or 1.
"""

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from kdpipe.stats import replicates
from kdpipe.stats.replicates import Halves, assign_halves, find_groups
from kdpipe.stats.t_dist import t_ppf, t_sf
from kdpipe.stats.variance_components import MIN_SE, CrossedMean, decompose_variance

MIN_SEEDS_FOR_HALVES = 5  # of which two halves choose for each other
MIN_SEEDS = 3  # below this there is no interval: of two, half of one is 12.7 standard errors


@dataclass(frozen=True)
class Summary:
    """A mean over seeds with its interval; nan where there are too few values.

    Attributes
    ----------
    n : int
        Number of values.
    mean, median : float
        In the unit of the values; nan without any value.
    sd : float
        Standard deviation (ddof 1); nan below two values.
    low, high : float
        Interval of the mean; nan below three values, or below three seeds or splits.
    dropped : int
        Seeds that a paired difference could not match.
    crossed_mean : CrossedMean or None
        Variance components of the mean if there are several splits.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float
    median: float
    dropped: int = 0
    crossed_mean: CrossedMean | None = None

    @property
    def min_levels(self) -> int:
        """Return the number of seeds, or of splits if they are fewer."""
        return min(self.crossed_mean.levels.values()) if self.crossed_mean else self.n

    @property
    def seeds(self) -> int:
        """Return the number of seeds, in however many splits each."""
        return self.crossed_mean.levels["seed"] if self.crossed_mean else self.n

    @property
    def se(self) -> float:
        """Return the standard error of the mean; nan below two values."""
        if self.crossed_mean:
            return math.sqrt(self.crossed_mean.variance)
        return self.sd / math.sqrt(self.n) if self.n else math.nan

    @property
    def has_spread(self) -> bool:
        """Return whether the values vary: if they do not, no test says anything of their mean."""
        return not self.se < MIN_SE

    @property
    def df(self) -> float:
        """Return the degrees of freedom of the standard error."""
        return self.crossed_mean.df if self.crossed_mean else self.n - 1

    @property
    def half_width(self) -> float:
        """Return half the width of the interval, in the unit of the values."""
        return (self.high - self.low) / 2


EMPTY_SUMMARY = Summary(0, math.nan, math.nan, math.nan, math.nan, math.nan)


def summarize(
    values: Iterable[float], level: float = 0.95, halves: Halves | None = None
) -> Summary:
    """Summarise values, one per replicate, with a t interval of their mean.

    Parameters
    ----------
    values : iterable of float
        Values in any order; nan is no value. A series or a dict is indexed by replicate; those of
        several splits are summarised over the seeds that have every split.
    level : float
        Confidence level.
    halves : mapping of float to int, optional
        The half of each seed, of a series or dict of values whose options two halves chose for each
        other: the variance is that within the halves.

    Returns
    -------
    Summary
        The mean and its interval.
    """
    if halves is not None:
        series = values if isinstance(values, pd.Series) else pd.Series(values, dtype=float)
        return _summarize_halves(series.astype(float).dropna(), level, halves)
    if isinstance(values, dict):  # a series of a few numbers takes longer than all that follows
        is_crossed = replicates.has_several_splits(values)
        values = pd.Series(values, dtype=float) if is_crossed else list(values.values())
    if isinstance(values, pd.Series) and replicates.has_several_splits(values.index):
        grid = replicates.to_grid(values.astype(float).dropna())
        if min(grid.shape) > 1:
            return _summarize_crossed(grid, level)
        values = grid.to_numpy().ravel()
    return summarize_columns(np.asarray(list(values), dtype=float)[:, None], level)[0]


def estimate_mean(values: pd.Series, halves: Halves | None = None) -> CrossedMean | None:
    """Estimate the mean over seeds, and over splits if there are several.

    Parameters
    ----------
    values : Series of float
        Values indexed by replicate; nan is no value.
    halves : mapping of float to int, optional
        The half of each seed, as in `summarize`.

    Returns
    -------
    CrossedMean or None
        The mean with its variance components; None below two values.
    """
    known_values = values.astype(float).dropna()
    if known_values.empty:
        return None
    by_seed = replicates.to_grid(known_values)
    grid = by_seed.to_numpy()
    factors = zip(("seed", "split"), grid.shape, strict=True)
    levels = {name: size for name, size in factors if size > 1}
    if not levels or not grid.size:
        return None
    groups = find_groups(by_seed.index, halves) if levels.get("seed", 0) >= MIN_SEEDS else None
    return decompose_variance(grid.reshape(tuple(levels.values())), *levels, groups=groups)


def _summarize_halves(values: pd.Series, level: float, halves: Halves) -> Summary:
    """Summarise values whose options two halves of the seeds chose for each other."""
    plain, crossed_mean = summarize(values, level), estimate_mean(values, halves)
    if crossed_mean is None or crossed_mean.groups == 1 or math.isnan(plain.low):
        return plain
    low, high = crossed_mean.compute_interval(level)
    return replace(plain, low=low, high=high, crossed_mean=crossed_mean)


def _summarize_crossed(grid: pd.DataFrame, level: float) -> Summary:
    """Summarise values (seeds, splits); fewer than three of either give no interval."""
    values = grid.to_numpy()
    crossed_mean = decompose_variance(values, "seed", "split")
    low, high = math.nan, math.nan
    if min(values.shape) >= MIN_SEEDS:
        low, high = crossed_mean.compute_interval(level)
    sd, median = float(values.std(ddof=1)), float(np.median(values))
    return Summary(values.size, crossed_mean.mean, sd, low, high, median, crossed_mean=crossed_mean)


def summarize_columns(
    values: np.ndarray, level: float = 0.95, replicate_ids: np.ndarray | None = None
) -> list[Summary]:
    """Summarise many measures at once.

    Parameters
    ----------
    values : ndarray of float, shape (seeds, measures)
        Values; nan is no value.
    level : float
        Confidence level.
    replicate_ids : ndarray of float, shape (seeds,), optional
        Replicates of the rows; by default each row is another seed of one split.

    Returns
    -------
    list of Summary
        One summary for each measure.
    """
    if replicate_ids is not None and replicates.has_several_splits(replicate_ids):
        return [summarize(pd.Series(column, index=replicate_ids), level) for column in values.T]
    x = np.sort(values, axis=0)  # nan last
    counts = (~np.isnan(x)).sum(axis=0)
    total = np.where(np.isnan(x), 0.0, x)
    means = total.sum(axis=0) / np.maximum(counts, 1)
    squares = np.where(np.isnan(x), 0.0, (x - means) ** 2).sum(axis=0)
    sds = np.sqrt(squares / np.maximum(counts - 1, 1))
    sds[sds <= 1e-12 * np.maximum(1.0, np.abs(total).max(axis=0, initial=0.0))] = 0.0  # rounding
    results = []
    for j, n in enumerate(counts.tolist()):
        if n == 0:
            results.append(EMPTY_SUMMARY)
            continue
        mean, median = float(means[j]), float(x[(n - 1) // 2, j] + x[n // 2, j]) / 2
        if n == 1:
            results.append(Summary(1, mean, math.nan, math.nan, math.nan, median))
            continue
        sd = float(sds[j])
        if n < MIN_SEEDS:
            results.append(Summary(n, mean, sd, math.nan, math.nan, median))
            continue
        half = t_ppf((1 + level) / 2, n - 1) * sd / math.sqrt(n)
        results.append(Summary(n, mean, sd, mean - half, mean + half, median))
    return results


def summarize_paired(a: pd.Series, b: pd.Series) -> Summary:
    """Summarise a - b over the seeds that both have; the others are dropped and counted.

    Parameters
    ----------
    a, b : Series of float
        Values indexed by replicate, in any order.

    Returns
    -------
    Summary
        The mean difference and its 95% interval.

    Raises
    ------
    ValueError
        If a replicate occurs twice in one series.
    """
    for series in (a, b):
        if series.index.has_duplicates:
            raise ValueError(f"a replicate occurs twice: {sorted(series.index)}")
    difference = a.astype(float).sub(b.astype(float))  # aligned on the union of the seeds
    result = summarize(difference)
    return replace(result, dropped=len(difference) - result.n)


def describe_difference(difference: Summary) -> str:
    """Return the verdict of a difference in error points; negative is better.

    Parameters
    ----------
    difference : Summary
        Paired difference, in points.

    Returns
    -------
    str
        'better' or 'worse' if the interval excludes 0, 'cannot tell' if it does not, 'no spread'
        if it is the same for every seed, and 'too few seeds' below three seeds (or splits, of
        several).
    """
    if difference.min_levels < MIN_SEEDS:
        return "too few seeds"
    if not difference.has_spread:
        return "no spread"
    return describe_interval(difference.low, difference.high)


def describe_interval(low: float, high: float) -> str:
    """Return the verdict of the interval of a difference in error points.

    Parameters
    ----------
    low, high : float
        Interval, in points.

    Returns
    -------
    str
        'better', 'worse' or 'cannot tell'.
    """
    return "better" if high < 0 else "worse" if low > 0 else "cannot tell"


def t_test_greater(
    differences: Iterable[float], margin: float = 0.0, halves: Halves | None = None
) -> float:
    """Return the p-value of a t test of 'the mean is above margin'.

    An effect signed so that positive is as claimed is tested with margin 0, and 'not better by more
    than delta' with margin -delta.

    Parameters
    ----------
    differences : iterable of float
        Paired differences, as in `summarize`.
    margin : float
        Margin, in the unit of the differences.
    halves : mapping of float to int, optional
        The half of each seed, as in `summarize`.

    Returns
    -------
    float
        The p-value; nan below two values.
    """
    result = summarize(differences, halves=halves)
    return math.nan if result.min_levels < 2 else t_sf(result.mean - margin, result.se, result.df)


@dataclass(frozen=True)
class Choice:
    """The options that were chosen, each without the replicate that it is tested on.

    Attributes
    ----------
    chosen : Series
        The chosen option by replicate; empty if there are fewer than two usable replicates.
    errors : Series
        The test errors of the chosen options by replicate.
    halves : mapping of float to int, or None
        The half of each seed, where two halves chose for each other; None where each seed was left
        out in turn, or there was nothing to choose.
    """

    chosen: pd.Series
    errors: pd.Series
    halves: Halves | None = None


def select_options(
    validation: pd.DataFrame,
    test: pd.DataFrame,
    halves: Halves | None = None,
    rule: Callable[[pd.Series], Hashable] | None = None,
) -> Choice:
    """Choose an option for each replicate on the validation errors of others.

    A choice made on the seed that is then tested would look better than it is. From five seeds on,
    two halves of the seeds choose for each other, all splits of a seed in one half: a choice by all
    other seeds would share all but one of them with the next, and the effects of seeds with it, so
    that tests over seeds were wrong in 6 % where 2.5 % is stated (ten seeds, 27 equal options).
    With three and four seeds each is left out in turn, and of several splits the tested one too.

    Options without any result are set aside; then only seeds that have every remaining option
    count, so that all options are judged on the same seeds. Ties go to the first option.

    Parameters
    ----------
    validation, test : DataFrame of float, shape (replicates, options)
        Errors on validation and test.
    halves : mapping of float to int, optional
        The half of each seed; by default by their ascending order.
    rule : callable, optional
        Returns the preferred option, given the mean validation error by option; by default the one
        with the lowest.

    Returns
    -------
    Choice
        The chosen options, with their errors.
    """
    has_same_axes = all(map(pd.Index.equals, test.axes, validation.axes))
    aligned = test if has_same_axes else test.reindex_like(validation)
    values, errors = validation.to_numpy(float), aligned.to_numpy()
    is_known = (values == values) & (errors == errors)  # not nan
    options = np.flatnonzero(is_known.any(axis=0))
    seeds = np.flatnonzero(is_known[:, options].all(axis=1))
    # Errors with provenance are objects, and stay so.
    dtype = object if errors.dtype.hasobject else float
    if len(options) == 0 or len(seeds) < 2:
        return Choice(pd.Series(dtype=object), pd.Series(dtype=float))
    index = validation.index[seeds]
    seed_ids = replicates.get_seeds(index)
    if halves is None:
        halves = assign_halves(sorted(set(replicates.get_seeds(validation.index))))
    groups = find_groups(seed_ids, halves)
    if groups is not None and len(set(seed_ids)) >= MIN_SEEDS_FOR_HALVES:
        others = [np.asarray(groups) != group for group in groups]
    else:
        halves = None
        others = [replicates.find_independent(replicate_id, index) for replicate_id in index]
    if not all(other.any() for other in others):
        return Choice(pd.Series(dtype=object), pd.Series(dtype=float))
    values = values[np.ix_(seeds, options)]
    means = np.array([values[other].mean(axis=0) for other in others])
    if rule is None:
        best = options[np.round(means, 9).argmin(axis=1)]  # ties stay ties
    else:
        columns = validation.columns[options]
        positions = dict(zip(columns, options, strict=True))
        best = np.array([positions[rule(pd.Series(mean, columns))] for mean in np.round(means, 9)])
    chosen = pd.Series([validation.columns[column] for column in best], index, dtype=object)
    return Choice(chosen, pd.Series(errors[seeds, best], index, dtype=dtype), halves)
