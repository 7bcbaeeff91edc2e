"""Correction of p-values for the number of tests in a family.

Which tests make a family is decided by the caller. Holm (1979): the k-th smallest of m p-values,
p(k), is rejected at a family-wise error rate a if p(j) <= a / (m - j + 1) for every j up to k;
adjusted, it is the largest (m - j + 1) p(j) of these. The first step is Bonferroni's.
"""

import math
from collections.abc import Sequence

import numpy as np


def adjust_holm(pvalues: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values.

    Parameters
    ----------
    pvalues : sequence of float
        P-values of one family; nan is not a test.

    Returns
    -------
    list of float
        Adjusted p-values in the same order; nan stays nan.

    References
    ----------
    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics, 1979.
    """
    p = np.asarray(pvalues, dtype=float)
    adjusted = np.full(p.shape, math.nan)
    tested = [i for i in np.argsort(p, kind="stable") if not math.isnan(p[i])]
    largest = 0.0
    for rank, i in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted.tolist()
