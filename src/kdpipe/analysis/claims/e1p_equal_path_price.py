"""E1p. The same as E1 at the price of the whole path: err(scratch of that price) - err(KD) > 0.

The price is that of the student's own operations, of its teacher's answers, and of training all
that the teacher rests on. Scratch runs of other prices tell what they tell in E1.
"""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.equal_price import PATH, build_equal_price_finding


def evaluate_equal_path_price(evidence: Evidence) -> Finding:
    """Compare taught students with scratch runs of the price of their paths."""
    return build_equal_price_finding(evidence, PATH)


CLAIM = Claim(
    "At an equal price of the whole path distilling beats labels alone",
    evaluate_equal_path_price,
    question="difference",
)
