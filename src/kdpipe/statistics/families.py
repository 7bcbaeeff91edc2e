"""Several tests at once: p-values corrected for how many of them there are.

Which tests make a family is decided where they are made. Holm (1979): the k-th smallest of m
p-values, p(k), is rejected at an error rate a of the family if p(j) <= a / (m - j + 1) for every j
up to k; adjusted, it is the largest (m - j + 1) p(j) of these. Its first step is Bonferroni's.
"""

import math
from collections.abc import Sequence

import numpy as np


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given; nan is not a test and stays nan."""
    p = np.asarray(pvalues, dtype=float)
    adjusted = np.full(p.shape, math.nan)
    tested = [i for i in np.argsort(p, kind="stable") if not math.isnan(p[i])]
    largest = 0.0
    for rank, i in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted.tolist()
