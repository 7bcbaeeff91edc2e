"""C16. On validation: CE(full KD) - CE(ESKD) > 0 and KD loss(ESKD) - KD loss(full KD) > 0.

On train it follows from the weights, of the one and of the other, and could not fail: there it
stands beside and is not judged. On validation part of it follows from them too: after the stop
cross-entropy has all the weight.
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.dataframe import add_image_provenance, pivot_by_seed
from kdpipe.analysis.selection import (
    build_finding,
    build_trade_off_contrasts,
    select_students_of_full_teachers,
)


def evaluate_trade_off(evidence: Evidence) -> Finding:
    """Compare CE and KD loss of full KD and ESKD."""
    full_kd_rows = select_students_of_full_teachers(evidence, "kd")
    eskd_rows = select_students_of_full_teachers(evidence, "eskd")
    parts = {f"{split}_{loss}": {} for split in ("val", "train") for loss in ("nll", "kl")}
    for column, part in parts.items():
        arms = [full_kd_rows, eskd_rows]
        if column.startswith("val_"):
            arms = [add_image_provenance(rows, column) for rows in arms]
        kd, eskd = (pivot_by_seed(rows, "student", "teacher", column=column) for rows in arms)
        part |= {pair: kd[pair] - eskd[pair] for pair in kd if pair in eskd}
    pairs = len(parts["val_kl"])
    if not pairs:
        raise UntestableClaim("no pair of student and teacher has both full KD and ESKD")
    description = (
        f"{full_kd_rows.method.iloc[0]} to {eskd_rows.method.iloc[0]}, mean over {pairs} pairs; "
        "part of it follows from the weight of cross-entropy, which rises when KD stops"
    )
    contrasts = build_trade_off_contrasts(evidence, parts, "val", is_needed=True)
    contrasts += build_trade_off_contrasts(evidence, parts, "train", is_needed=False)
    return build_finding(contrasts, description, pd.concat([full_kd_rows, eskd_rows]))


CLAIM = Claim(
    "A small student trades cross-entropy against the KD loss",
    evaluate_trade_off,
    question="difference",
)
