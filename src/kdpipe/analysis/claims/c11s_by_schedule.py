"""C11s. Per seed the mean over pairs of err(full) - err(stopped by a schedule of its own) > 0."""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.teacher_contrasts import (
    build_mean_gain_finding,
    compute_early_stopped_errors,
)


def evaluate_early_stopping_by_schedule(evidence: Evidence) -> Finding:
    """Compare teachers stopped by a schedule with full teachers."""
    return build_mean_gain_finding(evidence, compute_early_stopped_errors(evidence, "schedule"))


CLAIM = Claim(
    "A teacher stopped early by a schedule of its own beats the fully trained one",
    evaluate_early_stopping_by_schedule,
    primary=True,
    question="difference",
)
