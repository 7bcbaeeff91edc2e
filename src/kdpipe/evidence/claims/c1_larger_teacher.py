"""C1. (a) err_S(L) - err_S(m) > -delta, L is not better; beside it (b) > 0, L is even worse.

L is the largest teacher, m the smaller one that validation prefers. Premise: L is the more
accurate one.
"""

from kdpipe.evidence.choices import taught
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.teachers.largest_teacher import not_better
from kdpipe.evidence.verdicts import Finding


def larger_teacher(evidence: Evidence) -> Finding:
    return not_better(evidence, taught(evidence, "kd"))


CLAIM = Claim(
    "Beyond some size, a larger and more accurate teacher is not a better one",
    larger_teacher,
    primary=True,
)
