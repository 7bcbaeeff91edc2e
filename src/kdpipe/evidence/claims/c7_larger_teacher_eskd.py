"""TODO evidence.claims.c7_larger_teacher_eskd, from sizes."""

from kdpipe.evidence.choices import Evidence, taught
from kdpipe.evidence.largest_teacher import not_better
from kdpipe.evidence.verdicts import Finding


def larger_teacher_eskd(evidence: Evidence) -> Finding:
    """C7: C1(a) with ESKD."""
    return not_better(evidence, taught(evidence, "eskd"))
