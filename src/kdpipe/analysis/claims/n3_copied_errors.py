"""N3. err_S(KD) - err_S(scratch) where T is wrong + the same where T is right > 0.

The first is by how much the taught student is wrong more often, in points of the images that its
teacher gets wrong; less the second, with its sign turned: by how much it is right more often, in
points of those that the teacher gets right. So it copies more errors than it learns. Mean over the
cells of KD to the end: students and teachers, another network than the student, trained to the end
or by a schedule of their own (of checkpoints the wrong images are not known). Source: A functional
perspective on knowledge distillation (arXiv 2510.12615).
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.copied_errors import (
    WHOLE_RUNS,
    build_copied_errors_contrasts,
    compare_copied_errors,
)
from kdpipe.analysis.dataframe import filter_rows, get_series_by_seed, group_rows
from kdpipe.analysis.selection import build_finding, pivot_scratch_errors
from kdpipe.analysis.teacher_quality import select_taught_cells


def evaluate_copied_errors(evidence: Evidence) -> Finding:
    """Compare the errors that taught students and scratch runs share with the teachers."""
    rows = filter_rows(select_taught_cells(evidence.frame), stop_kind=WHOLE_RUNS)
    if rows.empty:
        raise UntestableClaim(
            "no student is taught by KD to the end by a teacher that is a whole run (full, or by a "
            "schedule)"
        )
    scratch_errors, parts = pivot_scratch_errors(evidence.frame), {}
    for key, cell in group_rows(rows, "student", "teacher", "stop"):
        errors = get_series_by_seed(cell)
        label = f"{key['student']} from {key['teacher']} ({key['stop']})"
        parts[label] = compare_copied_errors(
            evidence, cell, errors, scratch_errors.loc[:, key["student"]]
        )
    contrasts = build_copied_errors_contrasts(evidence, "copied errors, KD - scratch", parts)
    description = f"{rows.method.iloc[0]} to the end, {len(parts)} cells"
    return build_finding(contrasts, description, pd.concat([rows, _select_scratch(evidence, rows)]))


def _select_scratch(evidence: Evidence, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the scratch runs of the students."""
    return filter_rows(evidence.frame, kind="scratch", student=sorted(set(rows.student)))


CLAIM = Claim(
    "A taught student copies its teacher's errors by more than it learns",
    evaluate_copied_errors,
    question="difference",
)
