"""C13. (err(L) - err(best)) among full teachers - the same among early-stopped ones > 0.

L is the largest teacher, the best one is chosen on validation, without the tested seed. Premise: on
validation a gap between the two is shown (a t test over seeds, its mean above 0 at 5 %), or L has
nothing to catch up with.
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.selection import average_parts, build_finding, take_choice
from kdpipe.analysis.teacher_contrasts import (
    compute_early_stopped_errors,
    describe_early_stopping,
    select_best_teacher_errors,
)
from kdpipe.stats.intervals import t_test_greater
from kdpipe.stats.power import LEVEL
from kdpipe.stats.replicates import merge_halves


def evaluate_catching_up(evidence: Evidence) -> Finding:
    """Compare the gap of the largest teacher among full and early-stopped teachers."""
    early_stopping = compute_early_stopped_errors(evidence)
    rank = early_stopping.rows.drop_duplicates("teacher").set_index("teacher").teacher_rank
    parts, halves, reasons = {}, [early_stopping.halves], []
    for student in dict.fromkeys(student for student, _ in early_stopping.early):
        teachers = [
            teacher for other_student, teacher in early_stopping.early if other_student == student
        ]
        if len(teachers) < 2:
            continue
        largest = (student, max(teachers, key=lambda teacher: rank[teacher]))
        full = {pair: early_stopping.full[pair] for pair in early_stopping.early}
        rows = early_stopping.rows
        best_full = select_best_teacher_errors(rows, full, early_stopping.full_validation, student)
        best_early = select_best_teacher_errors(
            rows, early_stopping.early, early_stopping.early_validation, student
        )
        validation = pd.DataFrame(
            {pair[1]: early_stopping.full_validation[pair] for pair in full if pair[0] == student}
        )
        premise = (validation[largest[1]] - take_choice(validation, best_full)).dropna()
        p = t_test_greater(premise, halves=best_full.halves)
        if not p < LEVEL:
            size = f"{premise.mean():+.2g} points, p {p:.2g}" if len(premise) else "no errors"
            reasons.append(
                f"on validation {largest[1]}, the largest teacher of {student}, is not shown to "
                f"have a gap to the best one ({size})"
            )
            continue
        gap = early_stopping.full[largest] - best_full.errors
        early_gap = early_stopping.early[largest] - best_early.errors
        parts[student] = gap - early_gap
        halves += [best_full.halves, best_early.halves]
    if not parts:
        raise UntestableClaim(
            "; ".join(reasons) or "no student has two teachers that are also stopped early"
        )
    text = "gap of the largest teacher to the best, full - early-stopped"
    effect = average_parts(parts)
    contrast = Contrast(text, effect, "above", evidence.delta, halves=merge_halves(*halves))
    description = "; ".join([describe_early_stopping(early_stopping), *reasons])
    return build_finding([contrast], description, early_stopping.rows)


CLAIM = Claim(
    "Early stopping lets large teachers catch up",
    evaluate_catching_up,
    question="difference",
)
