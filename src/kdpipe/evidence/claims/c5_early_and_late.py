"""C5. Validation error, mean over epochs: scratch - KD > 0 early, and KD - scratch > 0 late.

Early is before the second drop of the learning rate, late is after the last one.
"""

import pandas as pd

from kdpipe.evidence.choices import finding, pool, taught_in_full
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import where
from kdpipe.evidence.verdicts import Finding, Untested


def early_and_late(evidence: Evidence) -> Finding:
    curves = evidence.curves
    if curves.empty or curves.val_error.isna().all():
        raise Untested("the folder holds no curves with validation errors")
    rows = taught_in_full(evidence, "kd")
    lines = curves.pivot(index="epoch", columns="run", values="val_error")
    rates = curves.pivot(index="epoch", columns="run", values="lr")
    alone = where(evidence.frame, kind="scratch").drop_duplicates(["student", "seed"])
    scratch = alone.set_index(["student", "seed"]).run
    early: dict[tuple, dict] = {}
    late: dict[tuple, dict] = {}
    done = where(rows, status="done").drop_duplicates(["student", "teacher", "seed"])
    columns = ("student", "teacher", "seed", "run")
    for student, teacher, seed, run in zip(*(done[column] for column in columns), strict=True):
        base = scratch.get((student, seed))
        if base not in lines or run not in lines:
            continue
        gain = (lines[base] - lines[run]).dropna()
        steps = rates[base].dropna().round(12)
        drops = [epoch for epoch in steps.index.tolist()[1:] if steps[epoch] != steps[epoch - 1]]
        if len(drops) < 2:
            raise Untested(f"the learning rate drops {len(drops)} times; the claim needs two drops")
        pair = (student, teacher)
        early.setdefault(pair, {})[seed] = gain[gain.index < drops[1]].mean()
        late.setdefault(pair, {})[seed] = -gain[gain.index >= drops[-1]].mean()
    series = [{pair: pd.Series(by) for pair, by in part.items()} for part in (early, late)]
    texts = ("before the second drop: scratch - KD", "after the last drop: KD - scratch")
    contrasts = [
        Contrast(f"mean validation error over epochs, {text}", pool(part), "above", evidence.delta)
        for text, part in zip(texts, series, strict=True)
    ]
    how = f"{rows.method.iloc[0]}, mean over {len(early)} pairs of student and full teacher"
    return finding(contrasts, how, rows)


CLAIM = Claim("KD helps early in training and hurts late", early_and_late)
