"""N2. Spearman's rho within seeds, over teachers and stops, of err_S and the ECE of T > 0.

The expected calibration error (ECE) of T is on validation, where it taught; cells and intervals are
those of N1. That the calibration error tells which teacher is the better one: Kim et al., The role
of teacher calibration in knowledge distillation (arXiv 2508.20224).
"""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.teacher_quality import build_following_finding


def evaluate_teacher_calibration(evidence: Evidence) -> Finding:
    """Correlate students' errors with the calibration error of their teachers."""
    return build_following_finding(evidence, "val_ece", "calibration error on validation")


CLAIM = Claim(
    "A student follows its teacher's calibration error on validation",
    evaluate_teacher_calibration,
    question="difference",
)
