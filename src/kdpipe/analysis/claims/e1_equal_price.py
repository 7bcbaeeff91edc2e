"""E1. At an equal price of training: err(scratch of that price) - err(KD) > 0, at every length.

KD is that of the teacher and the stop that validation prefers at a length, chosen for each seed by
other seeds. The price is that of the student's own operations and of its teacher's answers, a
forward pass for each image of each epoch. Where no scratch run has just that price, one that cost
less and is better contradicts, and one that cost more and is worse supports; of several the nearest
in price. If neither is so it is not tested, and the length that the price asks for is named.
Everything on the path is priced in E1p.
"""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.equal_price import OWN, build_equal_price_finding


def evaluate_equal_price(evidence: Evidence) -> Finding:
    """Compare taught students with scratch runs of their price."""
    return build_equal_price_finding(evidence, OWN)


CLAIM = Claim(
    "At an equal price of training distilling beats labels alone",
    evaluate_equal_price,
    question="difference",
)
