"""TODO evidence.claims.c16_trade_off, from teaching."""

import pandas as pd

from kdpipe.evidence.choices import Evidence, finding, taught, trade_off_contrasts
from kdpipe.evidence.selections import where, wide
from kdpipe.evidence.verdicts import Finding


def trade_off(evidence: Evidence) -> Finding:
    """C16: from full KD to ESKD the CE on train falls and the KD loss rises."""
    full = where(taught(evidence, "kd"), stop_kind="full")
    stopped = where(taught(evidence, "eskd"), stop_kind="full")
    parts = {"train_nll": {}, "train_kl": {}}
    for column, part in parts.items():
        kd, eskd = (wide(r, "student", "teacher", column=column) for r in (full, stopped))
        part |= {pair: kd[pair] - eskd[pair] for pair in kd if pair in eskd}
    pairs = len(parts["train_kl"])
    how = f"{full.method.iloc[0]} to {stopped.method.iloc[0]}, mean over {pairs} pairs"
    return finding(trade_off_contrasts(parts, needed=True), how, pd.concat([full, stopped]))
