"""C18. The entropy of fully trained teachers on train falls with their size.

For each seed minus the slope of a line through them, in nat for twice the operations, > 0.
"""

import numpy as np
import pandas as pd

from kdpipe.evidence.choices import finding
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import networks, where, wide
from kdpipe.evidence.verdicts import Finding, Untested


def confidence(evidence: Evidence) -> Finding:
    rows = networks(where(evidence.frame, kind="teacher", stop_kind="full"))
    entropy = wide(rows, "teacher", column="train_entropy").dropna()
    size = rows.drop_duplicates("teacher").set_index("teacher").teacher_multiply_adds
    doublings = np.log2(size.reindex(entropy.columns).to_numpy(float))
    if len(set(doublings)) < 2:
        raise Untested("it needs fully trained teachers of two sizes")
    slopes = np.polyfit(doublings, entropy.to_numpy(float).T, 1)[0] if len(entropy) else []
    text = "fall of the teacher's entropy on train for twice the operations"
    effect = pd.Series(-np.asarray(slopes), index=entropy.index, dtype=float)
    how = f"{len(size)} fully trained teachers, least squares for each seed"
    return finding([Contrast(text, effect, unit="nat")], how, rows)


CLAIM = Claim("Larger teachers are more confident", confidence)
