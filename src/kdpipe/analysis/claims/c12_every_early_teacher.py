"""C12. For every teacher T: err(best full teacher) - err(T stopped early at its best length) > 0.

The best teacher and the best length are chosen on validation, without the tested seed.
"""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.selection import build_finding
from kdpipe.analysis.teacher_contrasts import (
    compute_early_stopped_errors,
    describe_early_stopping,
    select_best_teacher_errors,
)
from kdpipe.stats.replicates import merge_halves


def evaluate_every_early_teacher(evidence: Evidence) -> Finding:
    """Compare each early-stopped teacher with the best full teacher."""
    early_stopping = compute_early_stopped_errors(evidence)
    contrasts = []
    for student in dict.fromkeys(student for student, _ in early_stopping.early):
        best_full = select_best_teacher_errors(
            early_stopping.rows, early_stopping.full, early_stopping.full_validation, student
        )
        contrasts += [
            Contrast(
                f"error of {student}: best full teacher - early-stopped {teacher}",
                (best_full.errors - early).dropna(),
                "above",
                evidence.delta,
                halves=merge_halves(
                    best_full.halves, early_stopping.choices[student, teacher].halves
                ),
            )
            for (other_student, teacher), early in early_stopping.early.items()
            if other_student == student
        ]
    return build_finding(contrasts, describe_early_stopping(early_stopping), early_stopping.rows)


CLAIM = Claim(
    "Every early-stopped teacher, at its best length, beats the best full teacher",
    evaluate_every_early_teacher,
    question="difference",
)
