"""C13. (err(L) - err(best)) among full teachers - the same among early-stopped ones > 0.

L is the largest teacher, the best one is chosen on validation, without the tested seed.
"""

from kdpipe.evidence.choices import finding, pool
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.teachers.early_stopped import best_of, how, stopped
from kdpipe.evidence.verdicts import Finding, Untested


def catching_up(evidence: Evidence) -> Finding:
    found = stopped(evidence)
    rank = found.rows.drop_duplicates("teacher").set_index("teacher").teacher_rank
    parts = {}
    for student in dict.fromkeys(student for student, _ in found.early):
        teachers = [teacher for other, teacher in found.early if other == student]
        if len(teachers) < 2:
            continue
        largest = (student, max(teachers, key=lambda teacher: rank[teacher]))
        full = {pair: found.full[pair] for pair in found.early}
        gap = found.full[largest] - best_of(full, found.full_validation, student)
        early_gap = found.early[largest] - best_of(found.early, found.early_validation, student)
        parts[student] = gap - early_gap
    if not parts:
        raise Untested("no student has two teachers that are also stopped early")
    text = "gap of the largest teacher to the best, full - early-stopped"
    contrast = Contrast(text, pool(parts), "above", evidence.delta)
    return finding([contrast], how(found), found.rows)


CLAIM = Claim("Early stopping lets large teachers catch up", catching_up)
