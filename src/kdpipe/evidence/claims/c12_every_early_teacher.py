"""C12. For every teacher T: err(best full teacher) - err(T stopped early at its best length) > 0.

The best teacher and the best length are chosen on validation, without the tested seed.
"""

from kdpipe.evidence.choices import finding
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.teachers.early_stopped import best_of, how, stopped
from kdpipe.evidence.verdicts import Finding


def every_early_against_best_full(evidence: Evidence) -> Finding:
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


CLAIM = Claim(
    "Every early-stopped teacher, at its best length, beats the best full teacher",
    every_early_against_best_full,
)
