"""C7. C1 with ESKD: err_S(L) - err_S(m) > -delta."""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.selection import select_students
from kdpipe.analysis.teacher_contrasts import build_non_superiority_finding


def evaluate_larger_teacher_eskd(evidence: Evidence) -> Finding:
    """Compare the largest teacher with the best smaller one under ESKD."""
    return build_non_superiority_finding(evidence, select_students(evidence, "eskd"))


CLAIM = Claim(
    "Under ESKD, too, a larger teacher is not a better one",
    evaluate_larger_teacher_eskd,
    question="not better",
)
