"""C11s. Per seed the mean over pairs of err(full) - err(stopped by a schedule of its own) > 0."""

from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.teachers.early_stopped import gain_of, stopped
from kdpipe.evidence.verdicts import Finding


def by_schedule(evidence: Evidence) -> Finding:
    return gain_of(evidence, stopped(evidence, "schedule"))


CLAIM = Claim(
    "A teacher stopped early by a schedule of its own beats the fully trained one",
    by_schedule,
    primary=True,
)
