"""TODO evidence.claims.c11s_by_schedule, from stopping."""

from kdpipe.evidence.choices import Evidence
from kdpipe.evidence.early_stopped import gain_of, stopped
from kdpipe.evidence.verdicts import Finding


def by_schedule(evidence: Evidence) -> Finding:
    """C11s: per seed the mean over pairs of err(full) - err(stopped by a schedule) > 0."""
    return gain_of(evidence, stopped(evidence, "schedule"))
