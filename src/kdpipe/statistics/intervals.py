"""How sure a number is: means, paired differences, tests and choices over seeds.

The unit of analysis is the seed, or a seed in a split where a study has several (see units): seeds
and splits are then crossed, and the variance of a mean has components of both. Everything takes
plain sequences or series indexed by seed and returns plain numbers; what is compared with what is
decided in tables and claims. The t distribution is used throughout: with five seeds no sign or rank
test can get below 1/32.
Values without spread (sd 0) are the limit of the t formulas: an interval of no width, p 0 or 1.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from kdpipe.statistics import units
from kdpipe.statistics.components import Crossed, crossed
from kdpipe.statistics.student import quantile, tail

FEWEST_SEEDS = 3  # below this there is no interval: of two, half of one is 12.7 standard errors


@dataclass(frozen=True)
class Summary:
    """A mean over seeds with its interval; nan where there are too few values to have one.

    `low` and `high` are nan below three values, `sd` (ddof 1) below two, `mean` and `median`
    without any. `dropped` counts the seeds that a paired difference could not match. `crossed`:
    of several splits what the variance of the mean is made of; there have to be three of each.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float
    median: float
    dropped: int = 0
    crossed: Crossed | None = None

    @property
    def fewest(self) -> int:
        """Seeds, or splits if they are fewer."""
        return min(self.crossed.levels.values()) if self.crossed else self.n

    @property
    def seeds(self) -> int:
        """How many seeds, in however many splits each."""
        return self.crossed.levels["seed"] if self.crossed else self.n

    @property
    def se(self) -> float:
        """The standard error of the mean; nan below two values."""
        if self.crossed:
            return math.sqrt(self.crossed.variance)
        return self.sd / math.sqrt(self.n) if self.n else math.nan

    @property
    def df(self) -> float:
        """Its degrees of freedom."""
        return self.crossed.df if self.crossed else self.n - 1

    @property
    def half_width(self) -> float:
        """Half the width of the interval, in the unit of the values."""
        return (self.high - self.low) / 2


NO_VALUES = Summary(0, math.nan, math.nan, math.nan, math.nan, math.nan)


def summary(values: Iterable[float], level: float = 0.95) -> Summary:
    """Summarise values, one per seed, with a t interval of their mean; nan is no value.

    values: in any order; a series or a dict says which units they are of. Those of several splits
    are summarised as far as every seed has every split.
    """
    if isinstance(values, dict):  # a series of a few numbers takes longer than all that follows
        several = len(set(units.splits(values))) > 1
        values = pd.Series(values, dtype=float) if several else list(values.values())
    if isinstance(values, pd.Series) and len(set(units.splits(values.index))) > 1:
        grid = units.grid(values.astype(float).dropna())
        if min(grid.shape) > 1:
            return _crossed(grid, level)
        values = grid.to_numpy().ravel()
    return summaries(np.asarray(list(values), dtype=float)[:, None], level)[0]


def estimate(values: pd.Series) -> Crossed | None:
    """The mean over seeds, and over splits where there are several; None below two values."""
    known = values.astype(float).dropna()
    if known.empty:
        return None
    grid = units.grid(known).to_numpy()
    factors = zip(("seed", "split"), grid.shape, strict=True)
    levels = {name: size for name, size in factors if size > 1}
    return crossed(grid.reshape(tuple(levels.values())), *levels) if levels and grid.size else None


def _crossed(grid: pd.DataFrame, level: float) -> Summary:
    """Of values (seeds, splits); fewer than three of either give no interval."""
    values = grid.to_numpy()
    found = crossed(values, "seed", "split")
    low, high = math.nan, math.nan
    if min(values.shape) >= FEWEST_SEEDS:
        low, high = found.interval(level)
    sd, median = float(values.std(ddof=1)), float(np.median(values))
    return Summary(values.size, found.mean, sd, low, high, median, crossed=found)


def summaries(
    values: np.ndarray, level: float = 0.95, of: np.ndarray | None = None
) -> list[Summary]:
    """Summarise many measures at once: values (seeds, measures), nan is no value.

    of: the units that the rows are of; without them each is another seed.
    """
    if of is not None and len(set(units.splits(of))) > 1:
        return [summary(pd.Series(column, index=of), level) for column in values.T]
    x = np.sort(values, axis=0)  # nan last
    counts = (~np.isnan(x)).sum(axis=0)
    total = np.where(np.isnan(x), 0.0, x)
    means = total.sum(axis=0) / np.maximum(counts, 1)
    squares = np.where(np.isnan(x), 0.0, (x - means) ** 2).sum(axis=0)
    sds = np.sqrt(squares / np.maximum(counts - 1, 1))
    sds[sds <= 1e-12 * np.maximum(1.0, np.abs(total).max(axis=0, initial=0.0))] = 0.0  # rounding
    found = []
    for j, n in enumerate(counts.tolist()):
        if n == 0:
            found.append(NO_VALUES)
            continue
        mean, median = float(means[j]), float(x[(n - 1) // 2, j] + x[n // 2, j]) / 2
        if n == 1:
            found.append(Summary(1, mean, math.nan, math.nan, math.nan, median))
            continue
        sd = float(sds[j])
        if n < FEWEST_SEEDS:
            found.append(Summary(n, mean, sd, math.nan, math.nan, median))
            continue
        half = quantile((1 + level) / 2, n - 1) * sd / math.sqrt(n)
        found.append(Summary(n, mean, sd, mean - half, mean + half, median))
    return found


def paired(a: pd.Series, b: pd.Series, level: float = 0.95) -> Summary:
    """Summarise a - b over the seeds that both have; the others are dropped and counted.

    a, b: series indexed by seed, each seed once (ValueError otherwise), in any order.
    """
    for series in (a, b):
        if series.index.has_duplicates:
            raise ValueError(f"a seed occurs twice: {sorted(series.index)}")
    difference = a.astype(float).sub(b.astype(float))  # aligned on the union of the seeds
    result = summary(difference, level)
    return replace(result, dropped=len(difference) - result.n)


def mark(difference: Summary) -> str:
    """Put a difference in error points into words; negative is better.

    'better' or 'worse' when the interval excludes 0, otherwise 'cannot tell'; 'too few seeds'
    below three (of several splits also of these), whatever the numbers.
    """
    if difference.fewest < FEWEST_SEEDS:
        return "too few seeds"
    return word(difference.low, difference.high)


def word(low: float, high: float) -> str:
    """What an interval of a difference in error points says."""
    return "better" if high < 0 else "worse" if low > 0 else "cannot tell"


def one_sided(differences: Iterable[float], margin: float = 0.0) -> float:
    """p-value of a t test of 'the mean is above margin'; nan below two values.

    An effect signed so that positive is as claimed is tested with margin 0; 'not better by more
    than delta' with margin -delta.
    """
    x = summary(differences)
    return math.nan if x.fewest < 2 else tail(x.mean - margin, x.se, x.df)


def choose(validation: pd.DataFrame, test: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Choose an option for each seed on the validation errors of all the other seeds.

    validation, test: errors, (seeds, options); ties go to the first option. Returns the chosen
    options and their test errors, both by seed. A choice made on the seed that is then tested
    would look better than it is; of several splits the tested one is left out too. Options without
    any result are set aside; then only seeds that have every remaining option count, so that all
    options are judged on the same seeds.
    """
    alike = all(map(pd.Index.equals, test.axes, validation.axes))
    aligned = test if alike else test.reindex_like(validation)
    values, errors = validation.to_numpy(float), aligned.to_numpy()
    known = (values == values) & (errors == errors)  # not nan
    options = np.flatnonzero(known.any(axis=0))
    seeds = np.flatnonzero(known[:, options].all(axis=1))
    # Errors that know their runs (see traced) are objects, and stay so.
    kind = object if errors.dtype.hasobject else float
    if len(options) == 0 or len(seeds) < 2:
        return pd.Series(dtype=object), pd.Series(dtype=float)
    index = validation.index[seeds]
    others = [units.apart(unit, index) for unit in index]
    if not all(other.any() for other in others):
        return pd.Series(dtype=object), pd.Series(dtype=float)
    values = values[np.ix_(seeds, options)]
    means = np.array([values[other].mean(axis=0) for other in others])
    best = options[np.round(means, 9).argmin(axis=1)]  # ties stay ties
    chosen = pd.Series([validation.columns[place] for place in best], index, dtype=object)
    return chosen, pd.Series(errors[seeds, best], index, dtype=kind)
