"""C16. On validation: CE(full KD) - CE(ESKD) > 0 and KD loss(ESKD) - KD loss(full KD) > 0.

On train it follows from the weights, of the one and of the other, and could not fail: there it
stands beside and is not judged.
"""

import pandas as pd

from kdpipe.evidence.choices import finding, taught_in_full, trade_off_contrasts
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.selections import wide
from kdpipe.evidence.verdicts import Finding, Untested


def trade_off(evidence: Evidence) -> Finding:
    full = taught_in_full(evidence, "kd")
    stopped = taught_in_full(evidence, "eskd")
    parts = {f"{split}_{loss}": {} for split in ("val", "train") for loss in ("nll", "kl")}
    for column, part in parts.items():
        kd, eskd = (wide(r, "student", "teacher", column=column) for r in (full, stopped))
        part |= {pair: kd[pair] - eskd[pair] for pair in kd if pair in eskd}
    pairs = len(parts["val_kl"])
    if not pairs:
        raise Untested("no pair of student and teacher has both full KD and ESKD")
    how = f"{full.method.iloc[0]} to {stopped.method.iloc[0]}, mean over {pairs} pairs"
    contrasts = trade_off_contrasts(parts, "val", needed=True)
    contrasts += trade_off_contrasts(parts, "train", needed=False)
    return finding(contrasts, how, pd.concat([full, stopped]))


CLAIM = Claim("A small student trades cross-entropy against the KD loss", trade_off)
