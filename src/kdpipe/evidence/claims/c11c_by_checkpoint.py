"""TODO evidence.claims.c11c_by_checkpoint, from stopping."""

from kdpipe.evidence.choices import Evidence
from kdpipe.evidence.early_stopped import gain_of, stopped
from kdpipe.evidence.verdicts import Finding


def by_checkpoint(evidence: Evidence) -> Finding:
    """C11c: the same for checkpoints cut out of the full training."""
    return gain_of(evidence, stopped(evidence, "checkpoint"))
