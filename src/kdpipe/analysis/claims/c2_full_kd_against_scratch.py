"""C2. For every fully trained teacher T: err_S(full KD, T) - err_S(scratch) > 0."""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import pivot_by_seed
from kdpipe.analysis.selection import (
    build_finding,
    pivot_scratch_errors,
    select_students_of_full_teachers,
)


def evaluate_full_kd_against_scratch(evidence: Evidence) -> Finding:
    """Compare full KD from each full teacher with scratch."""
    rows = select_students_of_full_teachers(evidence, "kd")
    scratch_errors, errors = (
        pivot_scratch_errors(evidence.frame),
        pivot_by_seed(rows, "student", "teacher"),
    )
    contrasts = [
        Contrast(
            f"error of {student} from {teacher} - scratch",
            (errors[student, teacher] - scratch_errors[student]).dropna(),
            "above",
            evidence.delta,
        )
        for student, teacher in errors
    ]
    return build_finding(contrasts, f"every fully trained teacher, {rows.method.iloc[0]}", rows)


CLAIM = Claim(
    "Full KD is worse than training from scratch, whatever the teacher",
    evaluate_full_kd_against_scratch,
    question="difference",
)
