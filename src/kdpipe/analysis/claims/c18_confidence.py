"""C18. The entropy of fully trained teachers on validation falls with their size.

For each seed minus the slope of a line through them, in nat for twice the operations, > 0. The same
on train stands beside it: training images are no sample of others, so what is measured on them has
no interval over images, and decides nothing.
"""

import functools
import operator

import numpy as np
import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import (
    add_image_provenance,
    filter_rows,
    pivot_by_seed,
    select_label_trained_teachers,
)
from kdpipe.analysis.selection import build_finding


def evaluate_confidence(evidence: Evidence) -> Finding:
    """Estimate how the entropy of full teachers falls with their size."""
    rows = select_label_trained_teachers(
        filter_rows(evidence.frame, kind="teacher", stop_kind="full")
    )
    size = rows.drop_duplicates("teacher").set_index("teacher").teacher_multiply_adds
    if size.nunique() < 2:
        raise UntestableClaim("it needs fully trained teachers of two sizes")
    if rows.val_entropy.isna().all():
        raise UntestableClaim("there is no entropy of teachers on validation images")
    contrasts = []
    for split, name in (("val", "validation"), ("train", "train")):
        column = f"{split}_entropy"
        cells = add_image_provenance(rows, column, "last") if split == "val" else rows
        contrasts.append(
            Contrast(
                f"fall of the teacher's entropy on {name} for twice the operations",
                -_fit_slopes(pivot_by_seed(cells, "teacher", column=column).dropna(), size),
                delta=evidence.smallest.entropy,
                is_needed=split == "val",
                unit="nat",
            )
        )
    description = f"{len(size)} fully trained teachers, least squares for each seed"
    return build_finding(contrasts, description, rows)


def _fit_slopes(entropy: pd.DataFrame, size: pd.Series) -> pd.Series:
    """Return by seed the slope of entropy over the logarithm of size, a weighted sum of it."""
    if entropy.empty:
        return pd.Series(dtype=float)
    doublings = np.log2(size.reindex(entropy.columns).astype(float))
    centered = doublings - doublings.mean()
    weights = centered / (centered**2).sum()
    terms = [entropy[teacher] * weight for teacher, weight in weights.items()]
    return functools.reduce(operator.add, terms)


CLAIM = Claim(
    "Larger teachers are more confident",
    evaluate_confidence,
    question="difference",
)
