"""C1. (a) err_S(L) - err_S(m) > -delta, L is not better; beside it (b) > 0, L is even worse.

L is the largest teacher, m the smaller one that validation prefers. Premise: L is the more
accurate one.
"""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.selection import select_students
from kdpipe.analysis.teacher_contrasts import build_non_superiority_finding


def evaluate_larger_teacher(evidence: Evidence) -> Finding:
    """Compare the largest teacher with the best smaller one under KD."""
    return build_non_superiority_finding(evidence, select_students(evidence, "kd"))


CLAIM = Claim(
    "Beyond some size, a larger and more accurate teacher is not a better one",
    evaluate_larger_teacher,
    primary=True,
    question="not better",
)
