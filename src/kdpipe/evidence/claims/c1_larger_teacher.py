"""TODO evidence.claims.c1_larger_teacher, from sizes."""

from kdpipe.evidence.choices import Evidence, taught
from kdpipe.evidence.largest_teacher import not_better
from kdpipe.evidence.verdicts import Finding


def larger_teacher(evidence: Evidence) -> Finding:
    """C1: err_S(L) - err_S(m) > -delta; below, whether it is even worse."""
    return not_better(evidence, taught(evidence, "kd"))
