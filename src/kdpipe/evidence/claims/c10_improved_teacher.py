"""C10. (a) err_S(improved teacher) - err_S(plain one) > -delta, (b) err(chain) ~ err(direct).

Premise of (a): the improved teacher, itself distilled, is the more accurate one on validation. (b)
asks that the end of a chain of networks lies within delta of the student that the chain's head
teaches at once.
"""

import pandas as pd

from kdpipe.evidence.choices import finding, method_of, pool
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import by_seed, direct, groups, networks, where
from kdpipe.evidence.verdicts import Finding, Untested


def improved_teacher(evidence: Evidence) -> Finding:
    better, rows, why = _improved(evidence)
    chain, chained = _chained(evidence)
    if not rows.empty or not chained.empty:
        return finding([better, chain], why, pd.concat([rows, chained]))
    raise Untested(f"{why}, and no chain stands beside its direct student")


def _improved(evidence: Evidence) -> tuple[Contrast, pd.DataFrame, str]:
    method = method_of(evidence.frame, "kd")
    rows = where(direct(evidence.frame), stop_kind="full", method=method)
    rows = rows.loc[rows.teacher_network != ""]
    plain = networks(rows)
    parts, used, premises = {}, [], []
    for key, cell in groups(rows.drop(plain.index), "student", "teacher", "teacher_network"):
        base = where(plain, student=key["student"], teacher=key["teacher_network"])
        ours, theirs = (by_seed(c, "teacher_val_error") for c in (cell, base))
        gain = (theirs - ours).dropna()
        if base.empty:
            premises.append(f"the plain {key['teacher_network']} does not teach {key['student']}")
        elif gain.empty:
            premises.append(f"there are no validation errors of {key['teacher']} to compare")
        elif gain.mean() <= 0:
            premises.append(f"{key['teacher']} is no better than {key['teacher_network']} itself")
        else:
            premises.append(
                f"{key['teacher']} is better than {key['teacher_network']} by {gain.mean():.2g} "
                "points on validation"
            )
            parts[tuple(key.values())] = by_seed(cell) - by_seed(base)
            used += [cell, base]
    why = "; ".join(premises) or "no teacher of this study was itself distilled"
    text = "(a) not better: error with the improved teacher - with the plain one"
    contrast = Contrast(text, pool(parts), "not better", evidence.delta)
    return contrast, pd.concat(used) if used else rows.head(0), why


def _chained(evidence: Evidence) -> tuple[Contrast, pd.DataFrame]:
    method = method_of(evidence.frame, "kd")
    rows = where(evidence.frame, kind="student", method=method, stop_kind="full", generation=1)
    parts, used = {}, []
    for key, cell in groups(rows.loc[rows.via != ""], "student", "teacher", "via"):
        straight = where(rows, student=key["student"], teacher=key["teacher"], via="")
        if not straight.empty:
            parts[tuple(key.values())] = by_seed(cell) - by_seed(straight)
            used += [cell, straight]
    text = "(b) the same: error of the end of the chain - of the direct student"
    contrast = Contrast(text, pool(parts), "same", evidence.delta)
    return contrast, pd.concat(used) if used else rows.head(0)


CLAIM = Claim(
    "A teacher improved by distillation is not a better teacher, and a chain through a medium "
    "network is the same as one step",
    improved_teacher,
)
