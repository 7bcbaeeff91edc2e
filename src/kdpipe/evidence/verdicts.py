"""How a claim is judged: from effects by seed to supports, contradicts, cannot tell, not tested.

The rules stand in docs/statistics.md and were fixed before any study was run. What is asked of an
effect is said in `contrasts`. A claim of several needed contrasts is an intersection-union test:
the p that supports it is the largest of theirs, the one that contradicts it their smallest times
their number. Holm's correction runs once over both directions of the tested primary claims and,
apart, once over both directions of the rest. Whatever says that a difference is too small to
matter counts only where the study would have seen one that does: what it detects with power 0.8 at
the rate of its family's first step, 0.05 / (2 x claims), is below the smallest effect.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from kdpipe.evidence.contrasts import TESTS, Contrast
from kdpipe.statistics.families import holm
from kdpipe.statistics.intervals import FEWEST_SEEDS
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.power import LEVEL, POWER


class Untested(Exception):
    """A claim cannot be tested in this study; the message says why."""


@dataclass(frozen=True)
class Finding:
    """What a claim function found: its contrasts, how they were made, and what was not there."""

    contrasts: list[Contrast]
    how: str
    missing: list[str] = field(default_factory=list)
    one_teacher: bool = False

    @property
    def needed(self) -> list[Contrast]:
        """The contrasts that the claim needs, all of them."""
        return [contrast for contrast in self.contrasts if contrast.needed]

    @property
    def seeds(self) -> int:
        """Of the needed contrast that has the fewest; splits if they are fewer."""
        return min((contrast.summary.fewest for contrast in self.needed), default=0)


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
    """One claim on one study. Effect, interval and p are of the needed contrast that decides.

    For `contradicts` that is the one which speaks against the claim most, else the weakest.
    """

    id: str
    title: str
    primary: bool
    verdict: str  # supports | contradicts | cannot tell | not tested
    reason: str
    effect: float = math.nan
    low: float = math.nan  # and high: of the t interval over seeds
    high: float = math.nan
    level: float = 0.95
    unit: str = "points"
    n: int = 0
    p: float = math.nan  # of the test that supports it; the larger one of the two intervals
    p_corrected: float = math.nan
    p_against: float = math.nan  # of the test that contradicts it
    p_against_corrected: float = math.nan
    contrary: str = ""  # the needed contrast that contradicts it
    tests: int = 0  # of its family, both directions
    test: str = ""
    half_width: float = math.nan  # of the wider interval
    seeds_needed: int | None = None
    detectable: float = math.nan  # of an effect that is only small because little would be seen
    missing: list[str] = field(default_factory=list)
    one_teacher: bool = False
    images: dict | None = None  # the second interval of the same contrast, over test images too
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
    main = {key for key, (_, of_code, _) in found.items() if of_code}
    main = main if primary is None else set(primary)
    judged = {}
    for family in (True, False):
        members = {key: parts for key, parts in found.items() if (key in main) == family}
        tested = [key for key, (*_, part) in members.items() if _short_of(part) is None]
        rate = look.level(LEVEL / (2 * max(1, len(tested))))  # of one test at this look
        weighed = {
            key: _weigh(key, title, family, part, rate) for key, (title, _, part) in members.items()
        }
        p = [weighed[key].p for key in tested] + [weighed[key].p_against for key in tested]
        corrected = holm([look.overall(one) for one in p])
        supports, contradicts = corrected[: len(tested)], corrected[len(tested) :]
        for key, p_for, against in zip(tested, supports, contradicts, strict=True):
            finding = members[key][2]
            assert isinstance(finding, Finding)
            weighed[key] = _settled(weighed[key], finding, p_for, against, rate, len(p))
        judged |= weighed
    return [judged[key] for key in found]


def _short_of(part: Finding | Untested) -> str | None:
    """Why a finding cannot be tested, or None."""
    if isinstance(part, Untested):
        return str(part)
    if part.seeds >= FEWEST_SEEDS:
        return None
    where = ""
    if len(part.needed) > 1:
        where = f" ({min(part.needed, key=lambda one: one.summary.fewest).text})"
    return f"{FEWEST_SEEDS} seeds with every cell are needed, {part.seeds} are there{where}"


def _weigh(key: str, title: str, primary: bool, part: Finding | Untested, rate: float) -> Verdict:
    """A claim before the correction. rate: that of one test of its family."""
    if isinstance(part, Untested):
        return Verdict(key, title, primary, "not tested", str(part))
    common = {
        "missing": part.missing,
        "one_teacher": part.one_teacher,
        "contrasts": [contrast.facts() for contrast in part.contrasts],
    }
    short = _short_of(part)
    if short is not None:
        return Verdict(key, title, primary, "not tested", f"{short}. {part.how}", **common)
    needed = part.needed
    against = min(one.p_against(rate / len(needed)) for one in needed)
    decisive = max(needed, key=lambda one: one.p_for)
    test = TESTS[decisive.asks].format(delta=decisive.delta or 0)
    if len(needed) > 1:
        test += f"; the weakest of {len(needed)} that must all hold"
    verdict = Verdict(key, title, primary, "cannot tell", part.how, test=test, **common)
    return replace(
        verdict,
        p=decisive.p_for,
        p_against=min(1.0, len(needed) * against),
        **_shown(decisive),
    )


def _settled(
    verdict: Verdict,
    finding: Finding,
    p_for: float,
    against: float,
    rate: float,
    tests: int,
) -> Verdict:
    """The verdict on a tested claim, from its corrected p-values."""
    needed = finding.needed
    verdict = replace(verdict, p_corrected=p_for, p_against_corrected=against, tests=tests)
    blind = [one.detectable(rate) for one in needed if one.is_blind(rate)]
    if p_for < LEVEL and not blind:
        return replace(verdict, verdict="supports")
    if against < LEVEL:
        contrary = min(needed, key=lambda one: one.p_against(rate / len(needed)))
        said = {"verdict": "contradicts", "contrary": contrary.text}
        return replace(verdict, **said, **_shown(contrary))
    return replace(
        verdict,
        seeds_needed=_seeds_needed(needed, rate),
        detectable=max(blind, default=math.nan) if p_for < LEVEL else math.nan,
    )


def _shown(contrast: Contrast) -> dict:
    s = contrast.summary
    return {
        "effect": s.mean,
        "low": s.low,
        "high": s.high,
        "level": contrast.level,
        "unit": contrast.unit,
        "n": s.n,
        "half_width": contrast.half_width,
        "images": contrast.images(),
    }


def _seeds_needed(needed: list[Contrast], rate: float) -> int | None:
    """Seeds that settle a claim with probability 0.8, if the effects are what was measured.

    To support it all k contrasts must hold, each with power 1 - 0.2 / k at the rate of one test of
    the family; to contradict it one is enough, at 1 / k of the rate. The nearer of the two ways.
    """
    k = len(needed)
    supported = [one.seeds_to_support(1 - (1 - POWER) / k, rate) for one in needed]
    opposed = [one.seeds_to_oppose(POWER, rate / k) for one in needed]
    ways = [number for number in opposed if number is not None]
    if None not in supported:
        ways.append(max(number for number in supported if number is not None))
    return max(min(ways), max(one.summary.seeds for one in needed) + 1) if ways else None
