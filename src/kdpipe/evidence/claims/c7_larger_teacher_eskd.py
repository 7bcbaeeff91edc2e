"""C7. C1 with ESKD: err_S(L) - err_S(m) > -delta."""

from kdpipe.evidence.choices import taught
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.teachers.largest_teacher import not_better
from kdpipe.evidence.verdicts import Finding


def larger_teacher_eskd(evidence: Evidence) -> Finding:
    return not_better(evidence, taught(evidence, "eskd"))


CLAIM = Claim("Under ESKD, too, a larger teacher is not a better one", larger_teacher_eskd)
