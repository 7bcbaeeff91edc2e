"""TODO evidence.claims.c12_every_early_teacher, from stopping."""

from kdpipe.evidence.choices import Evidence, finding
from kdpipe.evidence.early_stopped import best_of, how, stopped
from kdpipe.evidence.verdicts import Contrast, Finding


def every_early_against_best_full(evidence: Evidence) -> Finding:
    """C12: for every teacher, err(best full) - err(early-stopped at its best length) > 0."""
    found = stopped(evidence)
    contrasts = []
    for student in dict.fromkeys(student for student, _ in found.early):
        best = best_of(found.full, found.full_validation, student)
        contrasts += [
            Contrast(
                f"error of {student}: best full teacher - early-stopped {teacher}",
                (best - early).dropna(),
                "above",
                evidence.delta,
            )
            for (other, teacher), early in found.early.items()
            if other == student
        ]
    return finding(contrasts, how(found), found.rows)
