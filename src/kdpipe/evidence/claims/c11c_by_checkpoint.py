"""C11c. Per seed the mean over pairs of err(full) - err(stopped at a checkpoint of it) > 0."""

from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.teachers.early_stopped import gain_of, stopped
from kdpipe.evidence.verdicts import Finding


def by_checkpoint(evidence: Evidence) -> Finding:
    return gain_of(evidence, stopped(evidence, "checkpoint"))


CLAIM = Claim(
    "A teacher stopped early at a checkpoint beats the fully trained one",
    by_checkpoint,
    primary=True,
    order=1,
)
