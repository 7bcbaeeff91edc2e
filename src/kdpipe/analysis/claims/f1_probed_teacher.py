"""F1. err(student of the fine-tuned teacher) - err(student of the probed one) > -delta.

Both teachers are one network that begins from weights, fully trained: the probed one in its
classifier alone, on the features of a frozen backbone, the fine-tuned one in more. Mean over
students (those of each length apart) and networks. Reported for large pretrained teachers by Marrie
et al. (TMLR 2024, arXiv 2402.11305).
"""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.dataframe import FINE_TUNED, PROBED
from kdpipe.analysis.teacher_starts import build_start_finding


def evaluate_probed_teacher(evidence: Evidence) -> Finding:
    """Compare the students of the fine-tuned and of the probed teacher."""
    return build_start_finding(evidence, FINE_TUNED, PROBED, "not better")


CLAIM = Claim(
    "A probed teacher teaches at least as well as a fine-tuned one",
    evaluate_probed_teacher,
    question="not better",
)
