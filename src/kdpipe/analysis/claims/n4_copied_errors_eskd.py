"""N4. The same as N3 of full KD - of KD stopped early > 0: stopped KD copies fewer errors.

By how much full KD is wrong more often where T is wrong, less by how much it is right more often
where T is right, each in points of its group of images. Temperature and weights are the same; where
KD stops is chosen on validation. Mean over students and teachers that have both, the teachers of
N3.
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.copied_errors import (
    WHOLE_RUNS,
    build_copied_errors_contrasts,
    compare_copied_errors,
)
from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    pivot_by_seed,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.analysis.selection import (
    build_finding,
    choose_on_validation,
    get_method_settings,
    take_choice,
)
from kdpipe.analysis.teacher_quality import select_taught_cells
from kdpipe.stats.replicates import merge_halves


def evaluate_copied_errors_of_eskd(evidence: Evidence) -> Finding:
    """Compare the errors that students of full and of stopped KD share with their teachers."""
    full_kd_rows = filter_rows(select_taught_cells(evidence.frame), stop_kind=WHOLE_RUNS)
    direct = select_label_trained_teachers(select_direct_students(evidence.frame))
    eskd_rows = filter_rows(direct, method_kind="eskd", **get_method_settings(full_kd_rows))
    if full_kd_rows.empty or eskd_rows.empty:
        raise UntestableClaim(
            "no student is taught both by KD to the end and by ESKD, with the same temperature and "
            "weights"
        )
    parts, halves, used = {}, [], []
    full_cells = {
        tuple(key.values()): cell
        for key, cell in group_rows(full_kd_rows, "student", "teacher", "stop")
    }
    for key, cell in group_rows(eskd_rows, "student", "teacher", "stop"):
        full_cell = full_cells.get(tuple(key.values()))
        if full_cell is None:
            continue
        validation = pivot_by_seed(cell, "method", column="val_error")
        test = pivot_by_seed(cell, "method")
        choice = choose_on_validation(cell, validation, test)
        halves.append(choice.halves)
        used += [full_cell, cell]
        label = f"{key['student']} from {key['teacher']} ({key['stop']})"
        parts[label] = compare_copied_errors(
            evidence, full_cell, get_series_by_seed(full_cell), take_choice(test, choice)
        )
    if not parts:
        raise UntestableClaim("no teacher that is a whole run teaches by both KD and ESKD")
    text = "copied errors, full KD - ESKD"
    contrasts = build_copied_errors_contrasts(evidence, text, parts, merge_halves(*halves))
    description = (
        f"{full_kd_rows.method.iloc[0]} against {', '.join(eskd_rows.method.unique())}, "
        f"{len(parts)} cells"
    )
    return build_finding(contrasts, description, pd.concat(used))


CLAIM = Claim(
    "KD stopped early (ESKD) copies fewer of its teacher's errors than KD to the end",
    evaluate_copied_errors_of_eskd,
    question="difference",
)
