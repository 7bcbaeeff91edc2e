"""C11c. Per seed the mean over pairs of err(full) - err(stopped at a checkpoint of it) > 0."""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.teacher_contrasts import (
    build_mean_gain_finding,
    compute_early_stopped_errors,
)


def evaluate_early_stopping_by_checkpoint(evidence: Evidence) -> Finding:
    """Compare checkpoints of teachers with full teachers."""
    return build_mean_gain_finding(evidence, compute_early_stopped_errors(evidence, "checkpoint"))


CLAIM = Claim(
    "A teacher stopped early at a checkpoint beats the fully trained one",
    evaluate_early_stopping_by_checkpoint,
    primary=True,
    order=1,
    question="difference",
)
