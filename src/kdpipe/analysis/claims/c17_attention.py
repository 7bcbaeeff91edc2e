"""C17. (err(full) - err(early-stopped)) under attention transfer - under KD > 0, the same pairs.

Attention transfer alone; with KD in a study that has it in no other way (the paper's is not known
to have been the one or the other).
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.selection import average_parts, build_finding
from kdpipe.analysis.teacher_contrasts import compute_early_stopped_errors
from kdpipe.stats.replicates import merge_halves


def evaluate_attention_transfer(evidence: Evidence) -> Finding:
    """Compare the gain of early stopping under attention transfer and under KD."""
    has_attention_alone = (evidence.frame.method_kind == "at").any()
    has_attention_with_kd = (evidence.frame.method_kind == "at+kd").any()
    attention = compute_early_stopped_errors(
        evidence, method_kind="at+kd" if has_attention_with_kd and not has_attention_alone else "at"
    )
    kd = compute_early_stopped_errors(evidence, attention.kind)
    pairs = [pair for pair in attention.gains if pair in kd.gains]
    if not pairs:
        raise UntestableClaim("no pair is taught by both attention transfer and KD")
    effect = average_parts({pair: attention.gains[pair] - kd.gains[pair] for pair in pairs})
    text = "gain of early stopping, under attention transfer - under KD"
    description = (
        f"{attention.rows.method.iloc[0]}, stopped by {attention.kind}, "
        f"mean over {len(pairs)} pairs"
    )
    used = pd.concat([attention.rows, kd.rows])
    halves = merge_halves(attention.halves, kd.halves)
    contrast = Contrast(text, effect, "above", evidence.delta, halves=halves)
    return build_finding([contrast], description, used)


CLAIM = Claim(
    "Early stopping helps attention transfer even more than KD",
    evaluate_attention_transfer,
    question="difference",
)
