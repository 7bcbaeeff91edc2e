"""C5. Validation error, mean over epochs: scratch - KD > 0 early, and KD - scratch > 0 late.

Early is before the second drop of the learning rate, late is after the last one.
"""

import math

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import filter_rows
from kdpipe.analysis.selection import (
    average_parts,
    build_finding,
    select_students_of_full_teachers,
)
from kdpipe.stats.error_provenance import ErrorWithProvenance, ImageQuantity


def evaluate_early_and_late(evidence: Evidence) -> Finding:
    """Compare the validation error of KD and scratch early and late in training."""
    curves = evidence.curves
    if curves.empty or curves.val_error.isna().all():
        raise UntestableClaim("the folder holds no curves with validation errors")
    rows = select_students_of_full_teachers(evidence, "kd")
    lines = curves.pivot(index="epoch", columns="run", values="val_error")
    rates = curves.pivot(index="epoch", columns="run", values="lr")
    scratch_rows = filter_rows(evidence.frame, kind="scratch").drop_duplicates(["student", "seed"])
    scratch_runs = scratch_rows.set_index(["student", "seed"]).run
    early: dict[tuple, dict] = {}
    late: dict[tuple, dict] = {}
    finished_rows = filter_rows(rows, status="done").drop_duplicates(["student", "teacher", "seed"])
    columns = ("student", "teacher", "seed", "run")
    for student, teacher, seed, run in zip(
        *(finished_rows[column] for column in columns), strict=True
    ):
        base = scratch_runs.get((student, seed))
        if base not in lines or run not in lines:
            continue
        gain = (lines[base] - lines[run]).dropna()
        steps = rates[base].dropna().round(12)
        drops = [epoch for epoch in steps.index.tolist()[1:] if steps[epoch] != steps[epoch - 1]]
        if len(drops) < 2:
            raise UntestableClaim(
                f"the learning rate drops {len(drops)} times; the claim needs two drops"
            )
        pair = (student, teacher)
        early.setdefault(pair, {})[seed] = _average_gain(gain[gain.index < drops[1]], base, run)
        late.setdefault(pair, {})[seed] = -_average_gain(gain[gain.index >= drops[-1]], base, run)
    series = [
        {pair: pd.Series(gain_by_seed, dtype=object) for pair, gain_by_seed in part.items()}
        for part in (early, late)
    ]
    texts = ("before the second drop: scratch - KD", "after the last drop: KD - scratch")
    contrasts = [
        Contrast(
            f"mean validation error over epochs, {text}",
            average_parts(part),
            "above",
            evidence.delta,
        )
        for text, part in zip(texts, series, strict=True)
    ]
    description = f"{rows.method.iloc[0]}, mean over {len(early)} pairs of student and full teacher"
    return build_finding(contrasts, description, rows)


def _average_gain(gain: pd.Series, scratch: str, student: str) -> float:
    """Return the mean over epochs of error(scratch) - error(student), which knows both runs."""
    if gain.empty:
        return math.nan
    epochs = tuple(int(epoch) for epoch in gain.index)
    parts = {ImageQuantity(scratch, "val_error", epochs): 1.0}
    parts[ImageQuantity(student, "val_error", epochs)] = -1.0
    return ErrorWithProvenance(float(gain.to_numpy(float).mean()), parts)


CLAIM = Claim(
    "KD helps early in training and hurts late",
    evaluate_early_and_late,
    question="difference",
)
