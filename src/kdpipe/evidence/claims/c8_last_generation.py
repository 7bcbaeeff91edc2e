"""C8. For every network: err(generation k) - err(scratch) > -delta.

A network that is taught by itself for two generations and more; k is the last of them.
"""

import pandas as pd

from kdpipe.evidence.choices import finding, method_of, scratch
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import by_seed, groups, where
from kdpipe.evidence.verdicts import Finding, Untested


def last_generation(evidence: Evidence) -> Finding:
    method = method_of(evidence.frame, "kd")
    rows = where(evidence.frame, kind="student", via="", method=method, stop_kind="full")
    rows = rows.loc[rows.teacher_network == rows.student]
    alone = scratch(evidence.frame)
    contrasts, used = [], []
    for key, cells in groups(rows, "student", "block"):
        last = cells.generation.max()
        if last < 2:
            continue
        cell = where(cells, generation=last)
        used.append(cell)
        effect = (by_seed(cell) - alone[key["student"]]).dropna()
        text = f"error of {key['student']}, generation {last:g} - scratch"
        contrasts.append(Contrast(text, effect, "not better", evidence.delta))
    if not contrasts:
        raise Untested("no network of this study is taught by itself for two generations")
    return finding(
        contrasts, f"each generation taught by the one before, {method}", pd.concat(used)
    )


CLAIM = Claim(
    "The last of several generations is no better than training from scratch",
    last_generation,
)
