"""C17. (err(full) - err(early-stopped)) under attention transfer - under KD > 0, the same pairs.

Attention transfer alone; with KD in a study that has it in no other way (the paper's is not known
to have been the one or the other).
"""

import pandas as pd

from kdpipe.evidence.choices import finding, pool
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.teachers.early_stopped import stopped
from kdpipe.evidence.verdicts import Finding, Untested


def attention_transfer(evidence: Evidence) -> Finding:
    alone = (evidence.frame.method_kind == "at").any()
    both = (evidence.frame.method_kind == "at+kd").any()
    at = stopped(evidence, method_kind="at+kd" if both and not alone else "at")
    kd = stopped(evidence, at.kind)
    pairs = [pair for pair in at.gains if pair in kd.gains]
    if not pairs:
        raise Untested("no pair is taught by both attention transfer and KD")
    effect = pool({pair: at.gains[pair] - kd.gains[pair] for pair in pairs})
    text = "gain of early stopping, under attention transfer - under KD"
    how = f"{at.rows.method.iloc[0]}, stopped by {at.kind}, mean over {len(pairs)} pairs"
    used = pd.concat([at.rows, kd.rows])
    return finding([Contrast(text, effect, "above", evidence.delta)], how, used)


CLAIM = Claim("Early stopping helps attention transfer even more than KD", attention_transfer)
