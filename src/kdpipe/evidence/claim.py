"""A claim of the paper, or a reader's question, and what a study says of it.

Each file of `claims/` defines one; its docstring is the formula. What is compared, and when a
claim is supported, was fixed before any study was run: it is written there and in `verdicts`. The
unit of analysis is the seed, effects are signed so that positive is as claimed, and a choice never
uses the seed it is tested on.
"""

import dataclasses
import itertools
import math
import string
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from kdpipe import discovery
from kdpipe.evidence import reading
from kdpipe.evidence.selections import read_by, tidy, traced
from kdpipe.evidence.verdicts import Beside, Finding, Untested, Verdict, decide
from kdpipe.results.readings import Reading, other
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.traced import Wrong, second
from kdpipe.study import asked
from kdpipe.study.grammar import Study


@dataclass(frozen=True, eq=False)
class Evidence:
    """A study's data: the tidy frame, the curves, the smallest difference worth having.

    It is never changed, so what several claims select of it is selected once.
    """

    frame: pd.DataFrame
    curves: pd.DataFrame
    delta: float


@dataclass(frozen=True)
class Claim:
    """One claim; `primary` ones are corrected for their number apart from the rest.

    The function raises Untested where a study cannot test it. Claims stand in a report by their
    number, and those of one number (C11s, C11c) by `order`.
    """

    title: str
    function: Callable[[Evidence], Finding]
    primary: bool = False
    order: int = 0


def claims() -> dict[str, Claim]:
    """Every claim by its id, in the order of a report."""
    files = discovery.every("kdpipe.evidence.claims", "CLAIM", Claim)
    found = {key: files[file] for key, file in asked.claims().items()}
    numbers = itertools.groupby(found, key=lambda key: key.rstrip(string.ascii_lowercase))
    keys = [key for _, alike in numbers for key in sorted(alike, key=lambda key: found[key].order)]
    return {key: found[key] for key in keys}


def look_of(study: Study) -> Look:
    """Which of its looks a study is at."""
    return ONLY if study.looks is None else Look(tuple(study.looks), study.look)


def judge(
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    delta: float,
    reads: dict[str, list[str]] | None = None,
    wrong: Wrong | None = None,
    primary: Collection[str] | None = None,
    look: Look = ONLY,
) -> list[Verdict]:
    """Every claim on a frame (see frames). delta: the smallest difference worth having.

    reads: for a claim the blocks and ensembles that it reads; without an entry it reads all.
    wrong: the images that each run gets wrong, for the second interval of each contrast.
    primary and look: see `verdicts.decide`.
    """
    whole = Evidence(_known(frame), curves, delta)
    found = {}
    for key, claim in claims().items():
        evidence = whole
        if reads and key in reads:
            evidence = Evidence(_known(read_by(frame, reads[key])), curves, delta)
        finding = _found(claim, evidence)
        found[key] = (claim.title, claim.primary, _with_images(finding, wrong))
    return decide(found, primary, look)


def judge_both(
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    delta: float,
    read_at: Reading,
    reads: dict[str, list[str]] | None = None,
    wrong: Mapping[Reading, Wrong] | None = None,
    primary: Collection[str] | None = None,
    look: Look = ONLY,
) -> list[Verdict]:
    """Every claim in the reading of a study, with what the other reading says beside each.

    frame: of the records (`frames.frame`); wrong: by reading. Else as `judge`.
    """
    known = wrong or {}
    here, there = (
        judge(reading.at(frame, each), curves, delta, reads, known.get(each), primary, look)
        for each in (read_at, other(read_at))
    )
    both = zip(here, there, strict=True)
    return [replace(a, reading=read_at, beside=_beside(a, b, read_at)) for a, b in both]


def _beside(here: Verdict, there: Verdict, read_at: Reading) -> Beside:
    differs = here.verdict != there.verdict
    place, beside = reading.SAID[read_at], reading.SAID[other(read_at)]
    words = f"read at {beside}: {there.verdict}"
    if differs:
        words = f"the readings differ: {here.verdict} at {place}, {there.verdict} at {beside}"
    numbers = (there.effect, there.low, there.high, there.n, there.p_corrected)
    return Beside(other(read_at), there.verdict, *numbers, differs, words)


def find(
    claim: Claim,
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    delta: float,
    wrong: Wrong | None = None,
) -> Finding | Untested:
    """What one claim finds in a frame, or why it cannot be tested there. wrong: see `judge`."""
    found = _found(claim, Evidence(_known(frame), curves, delta))
    return found if wrong is None else _with_images(found, wrong)


def as_json(verdicts: list[Verdict]) -> list[dict]:
    """For claims.json: nan as null."""
    return [_plain(dataclasses.asdict(verdict)) for verdict in verdicts]


def _known(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as a claim reads it."""
    return traced(tidy(frame))


def _found(claim: Claim, evidence: Evidence) -> Finding | Untested:
    try:
        return claim.function(evidence)
    except Untested as reason:
        return reason


def _with_images(part: Finding | Untested, wrong: Wrong | None) -> Finding | Untested:
    """The finding with the second estimate of every contrast."""
    if isinstance(part, Untested):
        return part
    contrasts = []
    for one in part.contrasts:
        values = one.values if one.linear is None else one.linear
        contrasts.append(replace(one, second=second(values, wrong)))
    return replace(part, contrasts=contrasts)


def _plain(value) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
