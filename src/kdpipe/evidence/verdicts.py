"""How a claim is judged: from effects by seed to supports, contradicts, cannot tell, not tested.

The rules stand in the README (section on claims) and were fixed before any study was run. An
effect is signed so that positive is as claimed. What is asked of it is one of three things:

- `above`: the mean is above 0;
- `not better`: the mean is above -delta, so nothing worth having is lost by the claim;
- `same`: the mean lies within -delta and +delta (two one-sided tests, a 90 % interval).

A claim of several needed contrasts is an intersection-union test: its p is the largest of theirs.
Holm's correction runs over the tested primary claims and, apart, over the rest.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import pandas as pd

from kdpipe.statistics.families import holm
from kdpipe.statistics.intervals import FEWEST_SEEDS, Summary, one_sided, summary
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.power import seeds_needed
from kdpipe.statistics.resampling import Resampled

LEVEL = 0.05
TESTS = {
    "above": "paired one-sided t test over seeds: mean > 0",
    "not better": "paired one-sided t test over seeds: mean > -{delta:g}",
    "same": "two one-sided t tests over seeds: mean within ±{delta:g}",
}


class Untested(Exception):
    """A claim cannot be tested in this study; the message says why."""


@dataclass(frozen=True)
class Contrast:
    """One effect by seed, positive as claimed, and what is asked of it.

    `delta` is the smallest difference worth having, in the unit of the values; None where there
    is none (losses): such a contrast is only ever above 0, below 0, or neither. `estimate`: the
    effect where it is not the mean of the values, a rank correlation of means for instance, with
    an interval of its own; the tests are those of the values.
    """

    text: str
    values: pd.Series
    asks: str = "above"
    delta: float | None = None
    needed: bool = True
    unit: str = "points"
    resampled: Resampled | None = None  # over seeds and test images, the second interval
    estimate: Summary | None = None

    @property
    def level(self) -> float:
        """Of its interval: two one-sided tests at 5 % are an interval of 90 %."""
        return 0.90 if self.asks == "same" else 0.95

    @property
    def summary(self) -> Summary:
        """Mean and interval of the effect over seeds."""
        return self.estimate or summary(self.values, self.level)

    @property
    def p_for(self) -> float:
        """p of the test that the effect is as claimed."""
        if self.asks == "same":
            return self._inside()
        return one_sided(self.values, -self._margin() if self.asks == "not better" else 0.0)

    @property
    def p_against(self) -> float:
        """p of the test that it is not: below 0 or practically nothing, below -delta, outside."""
        against = -self.values
        if self.asks == "not better":
            return one_sided(against, self._margin())
        if self.asks == "same":
            return _least(
                one_sided(self.values, self._margin()), one_sided(against, self._margin())
            )
        below = one_sided(against)
        return below if self.delta is None else _least(below, self._inside())

    @property
    def seeds_needed(self) -> int | None:
        """Seeds that would settle it with probability 0.8, if the effect is what was measured."""
        s = self.summary
        if math.isnan(s.mean):
            return None
        if self.asks == "above":
            distances = [abs(s.mean)]
            if self.delta is not None and abs(s.mean) < self.delta:
                distances.append(self.delta - abs(s.mean))  # to be shown as practically nothing
        elif self.asks == "not better":
            distances = [abs(s.mean + self._margin())]
        else:
            distances = [abs(self._margin() - abs(s.mean))]
        found = seeds_needed(s.sd, max(distances))
        return None if found is None else max(found, s.n + 1)

    def _margin(self) -> float:
        assert self.delta is not None, "a margin needs a smallest effect"
        return self.delta

    def _inside(self) -> float:
        margin = self._margin()
        low, high = one_sided(self.values, -margin), one_sided(-self.values, -margin)
        return math.nan if math.isnan(low) else max(low, high)


@dataclass(frozen=True)
class Finding:
    """What a claim function found: its contrasts, how they were made, and what was not there."""

    contrasts: list[Contrast]
    how: str
    missing: list[str] = field(default_factory=list)
    one_teacher: bool = False


@dataclass(frozen=True)
class Beside:
    """The same verdict in the other reading; `words` say what both come to together."""

    reading: str
    verdict: str
    effect: float
    low: float
    high: float
    n: int
    p_corrected: float
    differs: bool
    words: str


@dataclass(frozen=True)
class Verdict:
    """One claim on one study. Effect, interval and p are of the needed contrast that decides."""

    id: str
    title: str
    primary: bool
    verdict: str  # supports | contradicts | cannot tell | not tested
    reason: str
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    level: float = 0.95
    unit: str = "points"
    n: int = 0
    p: float = math.nan
    p_corrected: float = math.nan
    p_against: float = math.nan  # of the test that contradicts it
    p_against_corrected: float = math.nan
    contrary: int | None = None  # the needed contrast that speaks against it most, by its place
    test: str = ""
    half_width: float = math.nan
    seeds_needed: int | None = None
    missing: list[str] = field(default_factory=list)
    one_teacher: bool = False
    resampled: Resampled | None = None  # of the same contrast, over seeds and test images
    contrasts: list[dict] = field(default_factory=list)
    reading: str = "last"
    beside: Beside | None = None


def decide(
    found: dict[str, tuple[str, bool, Finding | Untested]],
    primary: Collection[str] | None = None,
    look: Look = ONLY,
) -> list[Verdict]:
    """Judge claims together. found: for each id its title, whether it is primary, its finding.

    primary: the ids of the primary claims where they are not those of the code; look: which of
    several looks at the study this is, whose p-values are turned into those of all looks together.
    """
    raw = {
        key: _weigh(key, title, of_code if primary is None else key in primary, part)
        for key, (title, of_code, part) in found.items()
    }
    judged = dict(raw)
    for first in (True, False):
        family = [key for key, v in raw.items() if v.primary == first and not math.isnan(v.p)]
        supports = holm([look.overall(raw[key].p) for key in family])
        contradicts = holm([look.overall(raw[key].p_against) for key in family])
        for key, p, against in zip(family, supports, contradicts, strict=True):
            word = "cannot tell"
            if p < LEVEL:
                word = "supports"
            elif against < LEVEL:
                word = "contradicts"
            settled = {} if word == "cannot tell" else {"seeds_needed": None}
            judged[key] = replace(
                raw[key], verdict=word, p_corrected=p, p_against_corrected=against, **settled
            )
    return list(judged.values())


def _weigh(key: str, title: str, primary: bool, finding: Finding | Untested) -> Verdict:
    if isinstance(finding, Untested):
        return Verdict(key, title, primary, "not tested", str(finding))
    contrasts = [_facts(contrast) for contrast in finding.contrasts]
    common = {"missing": finding.missing, "one_teacher": finding.one_teacher}
    needed = [contrast for contrast in finding.contrasts if contrast.needed]
    short = [c for c in needed if c.summary.fewest < FEWEST_SEEDS]
    if short or not needed:
        there = short[0].summary.fewest if short else 0
        where = f" ({short[0].text})" if len(needed) > 1 and short else ""
        reason = f"{FEWEST_SEEDS} seeds with every cell are needed, {there} are there{where}. "
        reason += finding.how
        return Verdict(key, title, primary, "not tested", reason, contrasts=contrasts, **common)
    decisive = max(needed, key=lambda contrast: contrast.p_for)
    against = min(needed, key=lambda contrast: contrast.p_against)
    s = decisive.summary
    return Verdict(
        key,
        title,
        primary,
        "cannot tell",
        finding.how,
        effect=s.mean,
        low=s.low,
        high=s.high,
        level=decisive.level,
        unit=decisive.unit,
        n=s.n,
        p=decisive.p_for,
        p_against=min(1.0, len(needed) * min(c.p_against for c in needed)),
        contrary=next(i for i, one in enumerate(finding.contrasts) if one is against),
        test=_test(decisive, len(needed)),
        half_width=s.half_width,
        resampled=decisive.resampled,
        seeds_needed=max((c.seeds_needed or 0 for c in needed), default=0) or None,
        contrasts=contrasts,
        **common,
    )


def _test(contrast: Contrast, needed: int) -> str:
    test = TESTS[contrast.asks].format(delta=contrast.delta or 0)
    return test if needed == 1 else f"{test}; the weakest of {needed} that must all hold"


def _facts(contrast: Contrast) -> dict:
    s = contrast.summary
    return {
        "text": contrast.text,
        "asks": contrast.asks,
        "needed": contrast.needed,
        "unit": contrast.unit,
        "effect": s.mean,
        "sd": s.sd,
        "low": s.low,
        "high": s.high,
        "level": contrast.level,
        "n": s.n,
        "p": contrast.p_for,
        "resampled": contrast.resampled,
        "seeds": [float(seed) for seed in contrast.values.index],
        "values": [float(value) for value in contrast.values],
    }


def _least(a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) else min(a, b)
