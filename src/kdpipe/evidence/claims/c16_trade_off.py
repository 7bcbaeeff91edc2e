"""C16. On train: CE(full KD) - CE(ESKD) > 0 and KD loss(ESKD) - KD loss(full KD) > 0."""

import pandas as pd

from kdpipe.evidence.choices import finding, taught, trade_off_contrasts
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.selections import where, wide
from kdpipe.evidence.verdicts import Finding


def trade_off(evidence: Evidence) -> Finding:
    full = where(taught(evidence, "kd"), stop_kind="full")
    stopped = where(taught(evidence, "eskd"), stop_kind="full")
    parts = {"train_nll": {}, "train_kl": {}}
    for column, part in parts.items():
        kd, eskd = (wide(r, "student", "teacher", column=column) for r in (full, stopped))
        part |= {pair: kd[pair] - eskd[pair] for pair in kd if pair in eskd}
    pairs = len(parts["train_kl"])
    how = f"{full.method.iloc[0]} to {stopped.method.iloc[0]}, mean over {pairs} pairs"
    return finding(trade_off_contrasts(parts, needed=True), how, pd.concat([full, stopped]))


CLAIM = Claim("A small student trades cross-entropy against the KD loss", trade_off)
