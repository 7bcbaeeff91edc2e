"""What a study can find: for each claim the chance of a verdict, and the seeds that would do.

Given are a true effect, as claimed, and the standard deviation over seeds of a paired difference.
One contrast is found with the power of a one-sided t test (non-central t, `statistics.power`) at
the rate of Holm's first step, 0.05 over twice the tested claims of its family, and at the last of
several looks at what that rate leaves for it. The distance to be seen is the effect where a claim
asks for a difference, the effect + delta where it says "not better", and delta where it says
"same", whose true effect is 0 and which is tested twice; the last two count only where a difference
of delta would be seen. A claim that needs k contrasts has at least 1 less the sum of their misses
(Bonferroni). Later steps of Holm's and earlier looks add to the chance; test images and splits,
which vary too, take from it.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kdpipe.beforehand import pilots, pretended, registered
from kdpipe.errors import KdpipeError
from kdpipe.evidence import claim, frames, reading
from kdpipe.evidence.selections import read_by
from kdpipe.evidence.verdicts import Contrast, Finding
from kdpipe.plan import planner
from kdpipe.results.store import Store
from kdpipe.statistics.intervals import FEWEST_SEEDS
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.power import LEVEL, POWER, detectable, power_of
from kdpipe.study.grammar import Study

ENOUGH = 0.2  # a study none of whose claims has this chance tells nothing
MOST = 10_000  # seeds

Cost = Callable[[int], str]  # of a study of so many seeds, in words


@dataclass(frozen=True)
class Chance:
    """Of one claim. `seeds`: those at which `power` is 0.8; None where no number is enough."""

    id: str
    primary: bool
    needs: int  # contrasts
    asks: str
    sd: float
    power: float
    seeds: int | None


def of(study: Study, effect: float, sd: Mapping[str, float] | float) -> list[Chance]:
    """The chances of every claim in points that a study can test, at all its seeds.

    sd: one for all claims, or by claim; one that it lacks has the largest of the others.
    """
    found = {
        key: part for key, part in pretended.findings(study).items() if isinstance(part, Finding)
    }
    named = study.primary
    main = {
        k for k, one in claim.claims().items() if (one.primary if named is None else k in named)
    }
    chances = []
    for key, finding in found.items():
        needed = [one for one in finding.contrasts if one.needed]
        if not all(one.unit == "points" and one.delta is not None for one in needed):
            continue
        family = sum((other in main) == (key in main) for other in found)
        spread = sd.get(key, max(sd.values())) if isinstance(sd, Mapping) else sd
        chance = functools.partial(_chance, study, needed, effect, spread, family)
        now = len(study.seeds)
        asks = ", ".join(dict.fromkeys(one.asks for one in needed))
        enough = _smallest(chance)
        chances.append(Chance(key, key in main, len(needed), asks, spread, chance(now), enough))
    return chances


def text(study: Study, effect: float, found: list[Chance], cost: Cost, source: str) -> list[str]:
    """The chances as lines of a plan. source: where the standard deviations are from."""
    if not found:
        return ["this study can tell nothing: it can test no claim in points of error"]
    lines = [
        f"chance of a verdict with {len(study.seeds)} seeds, if the true effect is {effect:g} "
        f"points as claimed ({source}); ◆ primary, corrected for their number (Holm), as the rest "
        "for theirs",
        f"{'claim':<8}{'needs':<18}{'sd':>6}{'at least':>10}{'seeds for 80 %':>17}  cost of these",
    ]
    for one in found:
        mark = f"{one.id}{' ◆' if one.primary else ''}"
        seeds = "no number" if one.seeds is None else f"{one.seeds:,}"
        price = "" if one.seeds is None else cost(one.seeds)
        needs = f"{one.needs} {one.asks}"
        lines.append(f"{mark:<8}{needs:<18}{one.sd:>6.2g}{one.power:>9.0%} {seeds:>17}  {price}")
    best = max(found, key=lambda one: one.power)
    if best.power < ENOUGH:
        lines.append(
            f"this study can tell nothing: with {len(study.seeds)} seeds no claim has a chance of "
            f"{ENOUGH:.0%} ({best.id} has the most, {best.power:.0%})"
        )
    return lines


def of_pilot(name: str, folder: Path, place: Store) -> dict[str, float]:
    """The standard deviation over seeds of each claim's contrasts in a pilot, by claim.

    Of several needed contrasts the root of their mean square. Raises KdpipeError where the pilot,
    a study named `name`, has no file or no records of two seeds, or is sealed.
    """
    study = pilots.load(name, folder)
    plan = planner.make(study)
    if (why := registered.sealed(plan, place)) is not None:
        raise KdpipeError(f"--pilot {name}: {why}")
    frame = reading.at(frames.frame(plan, place), study.reading)
    curves = frames.curves(plan, place)
    found = {}
    for key, one in claim.claims().items():
        part = read_by(frame, study.claims[key]) if key in study.claims else frame
        finding = claim.find(one, part, curves, study.smallest_effect)
        if isinstance(finding, Finding):
            needed = [c for c in finding.contrasts if c.needed and c.unit == "points"]
            squares = [c.summary.sd**2 for c in needed if c.summary.n > 1]
            if squares:
                found[key] = (sum(squares) / len(squares)) ** 0.5
    if not found:
        raise KdpipeError(
            f"--pilot {name}: {place.root} has no records of two seeds of it from which a "
            "difference could be made: run it first, or say --sd"
        )
    return found


def _chance(
    study: Study, needed: list[Contrast], effect: float, sd: float, family: int, seeds: int
) -> float:
    """Of a claim whose family has so many members, at a number of seeds."""
    if seeds < FEWEST_SEEDS:
        return 0.0
    counts = [*(count for count in study.looks or [] if count < seeds), seeds]
    look = Look(tuple(counts), len(counts)) if len(counts) > 1 else ONLY
    rate = look.level(LEVEL / (2 * family))
    missed = sum(1 - _power(one, effect, sd / seeds**0.5, seeds - 1, rate) for one in needed)
    return max(0.0, 1 - missed)


def _power(contrast: Contrast, effect: float, se: float, df: float, rate: float) -> float:
    if contrast.asks == "above":
        return power_of(effect, se, df, rate)
    assert contrast.delta is not None
    if detectable(se, df, rate, POWER) >= contrast.delta:
        return 0.0
    if contrast.asks == "not better":
        return power_of(effect + contrast.delta, se, df, rate)
    return max(0.0, 2 * power_of(contrast.delta, se, df, rate) - 1)


def _smallest(chance: Callable[[int], float]) -> int | None:
    """The fewest seeds with a chance of 0.8; it rises with them."""
    low, high = FEWEST_SEEDS - 1, FEWEST_SEEDS
    while chance(high) < POWER:
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(middle) >= POWER else (middle, high)
    return high
