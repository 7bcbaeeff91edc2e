"""N1. Spearman's rho within seeds, over teachers and stops, of err_S and the NLL of T > 0.

The NLL (cross-entropy) of T is on validation, where it taught. Cells: KD to the end, directly from
one network trained on labels, another one than the student; no untrained teacher; four cells or
more of a student. The mean over students is tested; beside it stands the same without teachers that
were stopped before the first drop of their learning rate. The NLL is taken as measured. Test images
are those of err_S: its rise along the ranks of the teachers (a sum of errors) is tested over seeds
and images too. That a teacher teaches as well as its probabilities fit: Menon et al., Why
distillation helps: a statistical perspective (arXiv 2005.10419).
"""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.teacher_quality import build_following_finding


def evaluate_teacher_nll(evidence: Evidence) -> Finding:
    """Correlate students' errors with the NLL of their teachers."""
    return build_following_finding(evidence, "val_nll", "NLL on validation")


CLAIM = Claim(
    "A student follows its teacher's NLL on validation",
    evaluate_teacher_nll,
    question="difference",
)
