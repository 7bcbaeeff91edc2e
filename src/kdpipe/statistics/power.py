"""What a study can find: the power of a one-sided t test, and what that asks of it.

With an effect of e standard errors the t statistic has the non-central t distribution with that
parameter, so the power at an error rate a is P(T(df, e) > t(1 - a, df)). In a family of several
tests the error rate is that of Holm's first step, the rate of the family over their number; of a
claim that needs all of k contrasts each gets the power 1 - (1 - power) / k (Bonferroni).
"""

import math
from collections.abc import Callable

from scipy import special

from kdpipe.statistics.intervals import FEWEST_SEEDS
from kdpipe.statistics.student import quantile

POWER = 0.8
LEVEL = 0.05
ENDLESS = 1_000_000  # seeds; more is never
NORMAL = 1000  # degrees of freedom, beyond which t is as good as normal


def power_of(effect: float, se: float, df: float, level: float = LEVEL) -> float:
    """The chance that a one-sided t test finds an effect, in the unit of its standard error."""
    if math.isnan(effect) or math.isnan(se) or df < 1:
        return math.nan
    if se == 0:
        return float(effect > 0)
    return 1.0 - float(special.nctdtr(df, effect / se, quantile(1 - level, df)))


def detectable(se: float, df: float, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest effect that a one-sided t test finds with this power; nan of nothing."""
    if math.isnan(se) or df < 1:
        return math.nan
    critical = quantile(1 - level, df)
    return se * float(special.nctdtrinc(df, 1 - power, critical)) if se else 0.0


def seeds_needed(
    sd: float,
    effect: float,
    power: float = POWER,
    level: float = LEVEL,
    fixed: float = 0.0,
    df: Callable[[int], float] = lambda seeds: seeds - 1.0,
) -> int | None:
    """The smallest number of seeds at which a one-sided t test finds the effect.

    sd: standard deviation over seeds of the paired differences; effect: a mean difference, in the
    same unit; fixed: the variance of the mean that no seed takes away, that of test images and of
    splits; df: degrees of freedom at so many seeds, which a few splits keep down.
    None when no number is enough: no effect, an unknown sd, too few images or splits.
    """
    if math.isnan(sd) or math.isnan(effect) or effect == 0:
        return None
    z = quantile(1 - level, math.inf) + quantile(power, math.inf)
    room = (abs(effect) / z) ** 2 - fixed  # what is left for sd^2 / n, of the normal distribution
    if room <= 0 or sd**2 / room > ENDLESS:
        return None
    n = max(FEWEST_SEEDS, math.ceil(sd**2 / room))  # the normal answer: never too many
    while df(n) < NORMAL:
        if power_of(abs(effect), math.sqrt(sd**2 / n + fixed), df(n), level) >= power:
            return n
        if n > NORMAL and sd**2 / n < fixed / NORMAL:  # more seeds change nothing any more
            return None
        n += max(1, n // NORMAL)
    return n
