"""TODO evidence.claims.c8_last_generation, from lineages."""

import pandas as pd

from kdpipe.evidence import choices as of
from kdpipe.evidence.choices import Evidence, finding, method_of
from kdpipe.evidence.selections import by_seed, groups, where
from kdpipe.evidence.verdicts import Contrast, Finding, Untested


def last_generation(evidence: Evidence) -> Finding:
    """C8: per network, err(generation k) - err(scratch) > -delta."""
    method = method_of(evidence.frame, "kd")
    rows = where(evidence.frame, kind="student", via="", method=method, stop_kind="full")
    rows = rows[rows.teacher_network == rows.student]
    alone = of.scratch(evidence.frame)
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
