"""How sure a number is: means, paired differences, tests and choices over seeds.

The unit of analysis is the seed. Everything here takes plain sequences or series indexed by seed
and returns plain numbers; what is compared with what is decided in tables and claims. The t
distribution is used throughout: with five seeds no sign or rank test can get below 1/32.
Values without spread (sd 0) are the limit of the t formulas: an interval of no width, p 0 or 1.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import special

from kdpipe.statistics import units

FEWEST_SEEDS = 3  # below this there is no interval: of two, half of one is 12.7 standard errors


@dataclass(frozen=True)
class Summary:
    """A mean over seeds with its interval; nan where there are too few values to have one.

    `low` and `high` are nan below three values, `sd` (ddof 1) below two, `mean` and `median`
    without any. `dropped` counts the seeds that a paired difference could not match.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float
    median: float
    dropped: int = 0

    @property
    def half_width(self) -> float:
        """Half the width of the interval, in the unit of the values."""
        return (self.high - self.low) / 2


NO_VALUES = Summary(0, math.nan, math.nan, math.nan, math.nan, math.nan)


def summary(values: Iterable[float], level: float = 0.95) -> Summary:
    """Summarise values, one per seed, with a t interval of their mean; nan is no value."""
    return summaries(np.asarray(list(values), dtype=float)[:, None], level)[0]


def summaries(values: np.ndarray, level: float = 0.95) -> list[Summary]:
    """Summarise many measures at once: values (seeds, measures), nan is no value."""
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
    below three, whatever the numbers.
    """
    if difference.n < FEWEST_SEEDS:
        return "too few seeds"
    if difference.high < 0:
        return "better"
    if difference.low > 0:
        return "worse"
    return "cannot tell"


def one_sided(differences: Iterable[float], margin: float = 0.0) -> float:
    """p-value of a t test of 'the mean is above margin'; nan below two values.

    An effect signed so that positive is as claimed is tested with margin 0; 'not better by more
    than delta' with margin -delta.
    """
    x = summary(differences)
    return math.nan if x.n < 2 else tail(x.mean - margin, x.sd / math.sqrt(x.n), x.n - 1)


def tail(excess: float, se: float, df: float) -> float:
    """p-value of 'above 0' for an estimate with its standard error and degrees of freedom."""
    if se == 0:
        return 0.5 if math.isclose(excess, 0, abs_tol=1e-12) else float(excess < 0)
    return float(special.stdtr(df, -excess / se))


def choose(validation: pd.DataFrame, test: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Choose an option for each seed on the validation errors of all the other seeds.

    Of several splits also of all the other splits (`units.apart`), whose train images the tested
    run has seen. validation, test: errors, (seeds, options); ties go to the first option. Returns the chosen
    options and their test errors, both by seed. A choice made on the seed that is then tested
    would look better than it is. Options without any result are set aside; then only seeds that
    have every remaining option count, so that all options are judged on the same seeds.
    """
    both = validation.notna() & test.reindex_like(validation).notna()
    options = both.columns[both.any()]
    seeds = both.index[both[options].all(axis=1)]
    if len(options) == 0 or len(seeds) < 2:
        return pd.Series(dtype=object), pd.Series(dtype=float)
    known = validation.loc[seeds, options].astype(float)
    others = {unit: known.loc[units.apart(unit, seeds)] for unit in seeds}
    if any(part.empty for part in others.values()):
        return pd.Series(dtype=object), pd.Series(dtype=float)
    chosen = pd.Series({unit: part.mean().idxmin() for unit, part in others.items()})
    found = {seed: test.at[seed, chosen[seed]] for seed in seeds}
    # Errors that know their runs (see resampling) are objects, and stay so.
    objects = any(kind.hasobject for kind in test.dtypes)
    return chosen, pd.Series(found, dtype=object if objects else float)


def quantile(p: float, df: float) -> float:
    """Of Student's t distribution."""
    return float(special.stdtrit(df, p))
