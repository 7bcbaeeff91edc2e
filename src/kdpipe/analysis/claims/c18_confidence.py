"""C18. The entropy of fully trained teachers on train falls with their size.

For each seed minus the slope of a line through them, in nat for twice the operations, > 0.
"""

import numpy as np
import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import filter_rows, pivot_by_seed, select_label_trained_teachers
from kdpipe.analysis.selection import build_finding


def evaluate_confidence(evidence: Evidence) -> Finding:
    """Estimate how the entropy of full teachers falls with their size."""
    rows = select_label_trained_teachers(
        filter_rows(evidence.frame, kind="teacher", stop_kind="full")
    )
    entropy = pivot_by_seed(rows, "teacher", column="train_entropy").dropna()
    size = rows.drop_duplicates("teacher").set_index("teacher").teacher_multiply_adds
    doublings = np.log2(size.reindex(entropy.columns).to_numpy(float))
    if len(set(doublings)) < 2:
        raise UntestableClaim("it needs fully trained teachers of two sizes")
    slopes = np.polyfit(doublings, entropy.to_numpy(float).T, 1)[0] if len(entropy) else []
    text = "fall of the teacher's entropy on train for twice the operations"
    effect = pd.Series(-np.asarray(slopes), index=entropy.index, dtype=float)
    description = f"{len(size)} fully trained teachers, least squares for each seed"
    contrast = Contrast(text, effect, delta=evidence.smallest.entropy, unit="nat")
    return build_finding([contrast], description, rows)


CLAIM = Claim(
    "Larger teachers are more confident",
    evaluate_confidence,
    question="difference",
)
