"""TODO evidence.claims.c18_confidence, from sizes."""

import numpy as np
import pandas as pd

from kdpipe.evidence.choices import Evidence, finding
from kdpipe.evidence.selections import networks, where, wide
from kdpipe.evidence.verdicts import Contrast, Finding, Untested


def confidence(evidence: Evidence) -> Finding:
    """C18: the entropy of the teacher on train falls with its size: minus the slope, by seed."""
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
