"""The claims of the paper, C1 to C18, and a reader's question, Q1: what this study says of each.

What is compared, and when a claim is supported, was fixed before any study was run; it is written
in the functions named here and in `verdicts`. The unit of analysis is the seed, effects are
signed so that positive is as claimed, and a choice never uses the seed it is tested on.
"""

import dataclasses
import math
from dataclasses import replace

import pandas as pd

from kdpipe.evidence.choices import Evidence
from kdpipe.evidence.claim import Claim
from kdpipe.evidence.claims.c1_larger_teacher import larger_teacher
from kdpipe.evidence.claims.c2_full_kd_against_scratch import full_kd_against_scratch
from kdpipe.evidence.claims.c3_temperature import temperature
from kdpipe.evidence.claims.c4_mimicry import mimicry
from kdpipe.evidence.claims.c5_early_and_late import early_and_late
from kdpipe.evidence.claims.c6_eskd import eskd_against_full_kd
from kdpipe.evidence.claims.c7_larger_teacher_eskd import larger_teacher_eskd
from kdpipe.evidence.claims.c8_last_generation import last_generation
from kdpipe.evidence.claims.c9_ensemble_of_generations import ensemble_of_generations
from kdpipe.evidence.claims.c10_improved_teacher import improved_teacher
from kdpipe.evidence.claims.c11c_by_checkpoint import by_checkpoint
from kdpipe.evidence.claims.c11s_by_schedule import by_schedule
from kdpipe.evidence.claims.c12_every_early_teacher import every_early_against_best_full
from kdpipe.evidence.claims.c13_catching_up import catching_up
from kdpipe.evidence.claims.c14_families import across_families
from kdpipe.evidence.claims.c15_capacity import capacity
from kdpipe.evidence.claims.c16_trade_off import trade_off
from kdpipe.evidence.claims.c17_attention import attention_transfer
from kdpipe.evidence.claims.c18_confidence import confidence
from kdpipe.evidence.claims.q1_staged_chain import staged_chain
from kdpipe.evidence.selections import reading, tidy
from kdpipe.evidence.verdicts import Finding, Untested, Verdict, decide
from kdpipe.evidence.wrong_images import Outcomes
from kdpipe.statistics.resampling import intervals, traced

CLAIMS = {
    "C1": Claim(
        "Beyond some size, a larger and more accurate teacher is not a better one",
        True,
        larger_teacher,
    ),
    "C2": Claim(
        "Full KD is worse than training from scratch, whatever the teacher",
        False,
        full_kd_against_scratch,
    ),
    "C3": Claim(
        "A higher temperature does not make the largest teacher a good one",
        False,
        temperature,
    ),
    "C4": Claim("Small students cannot mimic large teachers", False, mimicry),
    "C5": Claim("KD helps early in training and hurts late", False, early_and_late),
    "C6": Claim("KD stopped early (ESKD) beats KD to the end", True, eskd_against_full_kd),
    "C7": Claim(
        "Under ESKD, too, a larger teacher is not a better one",
        False,
        larger_teacher_eskd,
    ),
    "C8": Claim(
        "The last of several generations is no better than training from scratch",
        False,
        last_generation,
    ),
    "C9": Claim(
        "An ensemble of the generations is no better than one of as many scratch runs",
        True,
        ensemble_of_generations,
    ),
    "C10": Claim(
        "A teacher improved by distillation is not a better teacher, and a chain through a medium "
        "network is the same as one step",
        False,
        improved_teacher,
    ),
    "C11s": Claim(
        "A teacher stopped early by a schedule of its own beats the fully trained one",
        True,
        by_schedule,
    ),
    "C11c": Claim(
        "A teacher stopped early at a checkpoint beats the fully trained one",
        True,
        by_checkpoint,
    ),
    "C12": Claim(
        "Every early-stopped teacher, at its best length, beats the best full teacher",
        False,
        every_early_against_best_full,
    ),
    "C13": Claim("Early stopping lets large teachers catch up", False, catching_up),
    "C14": Claim(
        "Early-stopped teachers are better in every network family",
        False,
        across_families,
    ),
    "C15": Claim("The student's capacity, not the teacher, sets the result", False, capacity),
    "C16": Claim("A small student trades cross-entropy against the KD loss", False, trade_off),
    "C17": Claim(
        "Early stopping helps attention transfer even more than KD",
        False,
        attention_transfer,
    ),
    "C18": Claim("Larger teachers are more confident", False, confidence),
    "Q1": Claim(
        "Another temperature or label smoothing at each stage makes a chain worth while",
        False,
        staged_chain,
    ),
}


def judge(
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    delta: float,
    reads: dict[str, list[str]] | None = None,
    outcomes: Outcomes | None = None,
) -> list[Verdict]:
    """Every claim on a frame (see records). delta: the smallest difference worth having.

    reads: for a claim the blocks and ensembles that it reads; without an entry it reads all.
    outcomes: of single test images, for the second interval of each contrast.
    """
    found = {}
    for key, claim in CLAIMS.items():
        part = frame if key not in (reads or {}) else reading(frame, (reads or {})[key])
        found[key] = (claim.title, claim.primary, find(key, part, curves, delta))
    return decide(_resampled(found, outcomes))


def find(key: str, frame: pd.DataFrame, curves: pd.DataFrame, delta: float) -> Finding | Untested:
    """What one claim finds in a frame, or why it cannot be tested there."""
    try:
        return CLAIMS[key].function(Evidence(traced(tidy(frame)), curves, delta))
    except Untested as reason:
        return reason


def _resampled(
    found: dict[str, tuple[str, bool, Finding | Untested]], outcomes: Outcomes | None
) -> dict[str, tuple[str, bool, Finding | Untested]]:
    """The findings with the second interval of every contrast, all from the same resamples."""
    findings = [part for *_, part in found.values() if isinstance(part, Finding)]
    contrasts = [contrast for finding in findings for contrast in finding.contrasts]
    known = iter(intervals([(one.values, one.level) for one in contrasts], outcomes))
    judged = dict(found)
    for key, (title, primary, part) in found.items():
        if isinstance(part, Finding):
            both = [replace(contrast, resampled=next(known)) for contrast in part.contrasts]
            judged[key] = (title, primary, replace(part, contrasts=both))
    return judged


def as_json(verdicts: list[Verdict]) -> list[dict]:
    """For claims.json: nan as null."""
    return [_plain(dataclasses.asdict(verdict)) for verdict in verdicts]


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
