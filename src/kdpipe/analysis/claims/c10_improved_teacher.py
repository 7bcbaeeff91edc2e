"""C10. (a) err_S(improved teacher) - err_S(plain one) > -delta, (b) err(chain) ~ err(direct).

Premise of (a): the improved teacher, itself distilled, is the more accurate one on validation. (b)
asks that the end of a chain of networks lies within delta of the student that the chain's head
teaches at once.
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.analysis.selection import average_parts, build_finding, find_main_method


def evaluate_improved_teacher(evidence: Evidence) -> Finding:
    """Compare distilled teachers with plain ones, and chains with direct students."""
    improved_contrast, rows, description = _compare_improved_teacher(evidence)
    chain_contrast, chain_rows = _compare_chain(evidence)
    if not rows.empty or not chain_rows.empty:
        return build_finding(
            [improved_contrast, chain_contrast], description, pd.concat([rows, chain_rows])
        )
    raise UntestableClaim(f"{description}, and no chain stands beside its direct student")


def _compare_improved_teacher(evidence: Evidence) -> tuple[Contrast, pd.DataFrame, str]:
    """Return contrast (a), its rows and its premises."""
    method = find_main_method(evidence.frame, "kd")
    rows = filter_rows(select_direct_students(evidence.frame), stop_kind="full", method=method)
    rows = rows.loc[rows.teacher_network != ""]
    plain = select_label_trained_teachers(rows)
    parts, used, premises = {}, [], []
    for key, cell in group_rows(rows.drop(plain.index), "student", "teacher", "teacher_network"):
        plain_cell = filter_rows(plain, student=key["student"], teacher=key["teacher_network"])
        improved_errors, plain_errors = (
            get_series_by_seed(c, "teacher_val_error") for c in (cell, plain_cell)
        )
        gain = (plain_errors - improved_errors).dropna()
        if plain_cell.empty:
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
            parts[tuple(key.values())] = get_series_by_seed(cell) - get_series_by_seed(plain_cell)
            used += [cell, plain_cell]
    reason = "; ".join(premises) or "no teacher of this study was itself distilled"
    text = "(a) not better: error with the improved teacher - with the plain one"
    contrast = Contrast(text, average_parts(parts), "not better", evidence.delta)
    return contrast, pd.concat(used) if used else rows.head(0), reason


def _compare_chain(evidence: Evidence) -> tuple[Contrast, pd.DataFrame]:
    """Return contrast (b) and its rows."""
    method = find_main_method(evidence.frame, "kd")
    rows = filter_rows(
        evidence.frame, kind="student", method=method, stop_kind="full", generation=1
    )
    parts, used = {}, []
    for key, cell in group_rows(rows.loc[rows.via != ""], "student", "teacher", "via"):
        direct_cell = filter_rows(rows, student=key["student"], teacher=key["teacher"], via="")
        if not direct_cell.empty:
            parts[tuple(key.values())] = get_series_by_seed(cell) - get_series_by_seed(direct_cell)
            used += [cell, direct_cell]
    text = "(b) the same: error of the end of the chain - of the direct student"
    contrast = Contrast(text, average_parts(parts), "same", evidence.delta)
    return contrast, pd.concat(used) if used else rows.head(0)


CLAIM = Claim(
    "A teacher improved by distillation is not a better teacher, and a chain through a medium "
    "network is the same as one step",
    evaluate_improved_teacher,
    question="not better and same",
)
