"""What a study can find: for each claim the chance of a verdict, and the seeds that would do.

Given are a true effect, as claimed, and how far paired differences lie apart: over seeds, and as
far as it is known over splits and test images (`Spread`). One contrast is found with the chance
that `statistics.chance` says, at the rate of Holm's first step, 0.05 over twice the tested claims
of its family, and at the last of several looks at what that rate leaves for it. Where a claim says
"same" the true effect is 0. A claim that needs k contrasts has at least 1 less the sum of their
misses (Bonferroni). Later steps of Holm's and earlier looks add to the chance.
"""

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from kdpipe.beforehand import pilots, pretended, registered
from kdpipe.errors import KdpipeError
from kdpipe.evidence import claim, frames, reading
from kdpipe.evidence.selections import read_by
from kdpipe.evidence.verdicts import Contrast, Finding, Untested
from kdpipe.plan import planner
from kdpipe.results.store import Store
from kdpipe.statistics import chance as shown
from kdpipe.statistics.chance import Spread
from kdpipe.statistics.intervals import FEWEST_SEEDS
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.power import LEVEL
from kdpipe.study.grammar import Study

ENOUGH = 0.2  # a study none of whose claims has this chance tells nothing

Cost = Callable[[int], str]  # of a study of so many seeds, in words


@dataclass(frozen=True)
class Chance:
    """Of one claim. `seeds`: those at which `power` is 0.8; None where no number is enough.

    `sd`: over seeds. It and `power` are nan where a claim is not about points of error, so that
    no effect in points says anything of it.
    """

    id: str
    primary: bool
    needs: int  # contrasts
    asks: str
    sd: float = math.nan
    power: float = math.nan
    seeds: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether there is a chance to be stated."""
        return not math.isnan(self.power)


def of(study: Study, effect: float, spread: Mapping[str, Spread] | Spread) -> list[Chance]:
    """The chances of every claim that a study can test, at all its seeds. effect: in points.

    spread: one for all claims, or by claim; one that it lacks has the largest of the others.
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
        asks = ", ".join(dict.fromkeys(one.asks for one in needed))
        of_claim = Chance(key, key in main, len(needed), asks)
        if all(one.unit == "points" and one.delta is not None for one in needed):
            family = sum((other in main) == (key in main) for other in found)
            apart = spread
            if isinstance(spread, Mapping):
                apart = spread.get(key, max(spread.values(), key=lambda one: one.seed))
            assert isinstance(apart, Spread)
            chance = functools.partial(_chance, study, needed, effect, apart, family)
            numbers = {"power": chance(len(study.seeds)), "seeds": shown.fewest(chance)}
            sd = math.sqrt(apart.seed + apart.both / len(study.splits))
            of_claim = replace(of_claim, sd=sd, **numbers)
        chances.append(of_claim)
    return chances


def text(study: Study, effect: float, found: list[Chance], cost: Cost, source: str) -> list[str]:
    """The chances as lines of a plan. source: where the standard deviations are from."""
    known = [one for one in found if one.is_known]
    if not known:
        return ["this study can tell nothing: it can test no claim in points of error"]
    lines = [
        f"chance of a verdict with {len(study.seeds)} seeds, if the true effect is {effect:g} "
        f"points as claimed ({source}); ◆ primary, corrected for their number (Holm), as the rest "
        "for theirs",
        f"{'claim':<8}{'needs':<18}{'sd':>6}{'chance':>10}{'seeds for 80 %':>17}  cost of these",
    ]
    for one in found:
        start = f"{f'{one.id} ◆' if one.primary else one.id:<8}{f'{one.needs} {one.asks}':<18}"
        if not one.is_known:
            lines.append(
                f"{start}{'-':>6}{'-':>10}{'-':>17}  no smallest effect in points of error"
            )
            continue
        seeds = "no number" if one.seeds is None else f"{one.seeds:,}"
        price = "" if one.seeds is None else cost(one.seeds)
        lines.append(f"{start}{one.sd:>6.2g}{one.power:>9.0%} {seeds:>17}  {price}")
    best = max(known, key=lambda one: one.power)
    if best.power < ENOUGH:
        lines.append(
            f"this study can tell nothing: with {len(study.seeds)} seeds no claim has a chance of "
            f"{ENOUGH:.0%} ({best.id} has the most, {best.power:.0%})"
        )
    return lines


def of_pilot(name: str, folder: Path, place: Store, study: Study) -> dict[str, Spread]:
    """How far each claim's contrasts lie apart in a pilot, by claim, read as a study reads them.

    Of several needed contrasts the mean of their variances. Raises KdpipeError where the pilot,
    a study named `name`, has no file or no records of two seeds, or is sealed.
    """
    pilot = pilots.load(name, folder)
    plan = planner.make(pilot)
    if (why := registered.sealed(plan, place)) is not None:
        raise KdpipeError(f"--pilot {name}: {why}")
    frame = reading.at(frames.frame(plan, place), study.reading)
    curves = frames.curves(plan, place)
    wrong = reading.Outcomes(plan, place, study.reading).wrong
    found = {}
    for key, one in claim.claims().items():
        part = _read(frame, [study.claims.get(key), pilot.claims.get(key)])
        finding = claim.find(one, part, curves, study.smallest_effect, wrong)
        if (spread := _spread(finding)) is not None:
            found[key] = spread
    if not found:
        raise KdpipeError(
            f"--pilot {name}: {place.root} has no records of two seeds of it from which a "
            "difference could be made: run it first, or say --sd"
        )
    return found


def lacks(study: Study, found: Mapping[str, Spread] | Spread) -> str:
    """What takes from the chances of a study and is not known; nothing where all is."""
    spreads = list(found.values()) if isinstance(found, Mapping) else [found]
    unknown = [] if any(one.images for one in spreads) else ["test images"]
    if len(study.splits) > 1 and not any(one.split or one.both for one in spreads):
        unknown.append("splits")
    return f"; the noise of {' and of '.join(unknown)} is not counted" if unknown else ""


def _read(frame: pd.DataFrame, reads: list[list[str] | None]) -> pd.DataFrame:
    """The rows that a claim reads: by the first list of which the frame has anything, else all."""
    named = {*frame.block, *(frame.ensemble if "ensemble" in frame else [])}
    for names in reads:
        if names and named.intersection(names):
            return read_by(frame, names)
    return frame


def _spread(finding: Finding | Untested) -> Spread | None:
    """The mean spread of the contrasts that a claim needs; None below two seeds."""
    if isinstance(finding, Untested):
        return None
    parts = defaultdict(float)
    needed = [one for one in finding.needed if one.unit == "points" and one.known]
    needed = [one for one in needed if "seed" in one.known[0].levels]
    for one in needed:
        over = one.known[0].components
        parts["seed"] += over["seed",]
        parts["split"] += over.get(("split",), 0.0)
        parts["both"] += over.get(("seed", "split"), 0.0)
        if len(one.known) > 1 and one.linear is None:
            parts["images"] += one.known[1].part("seed", "split")
    return Spread(**{name: part / len(needed) for name, part in parts.items()}) if needed else None


def _chance(
    study: Study, needed: list[Contrast], effect: float, spread: Spread, family: int, seeds: int
) -> float:
    """Of a claim whose family has so many members, at a number of seeds."""
    splits = len(study.splits)
    if seeds < FEWEST_SEEDS or 1 < splits < FEWEST_SEEDS:
        return 0.0
    counts = [*(count for count in study.looks or [] if count < seeds), seeds]
    look = Look(tuple(counts), len(counts)) if len(counts) > 1 else ONLY
    rate = look.level(LEVEL / (2 * family))
    missed = 0.0
    for (asks, delta), number in Counter((one.asks, one.delta) for one in needed).items():
        assert delta is not None
        missed += number * (1 - shown.chance(asks, effect, delta, spread, seeds, splits, rate))
    return max(0.0, 1 - missed)
