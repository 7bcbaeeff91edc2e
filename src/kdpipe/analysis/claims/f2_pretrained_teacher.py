"""F2. err(student of the teacher from random weights) - err(student of the fine-tuned one) > 0.

Both teachers are one network, fully trained, the fine-tuned one from weights. Mean over students
(those of each length apart) and networks.
"""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.dataframe import FINE_TUNED, START_AT_RANDOM
from kdpipe.analysis.teacher_starts import build_start_finding


def evaluate_pretrained_teacher(evidence: Evidence) -> Finding:
    """Compare the students of the teacher from random weights and of the fine-tuned one."""
    return build_start_finding(evidence, START_AT_RANDOM, FINE_TUNED, "above")


CLAIM = Claim(
    "A fine-tuned teacher teaches better than the same network from random weights",
    evaluate_pretrained_teacher,
    question="difference",
)
