"""C8. For every network: err(generation k) - err(scratch) > -delta.

A network that is taught by itself for two generations and more; k is the last of them.
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import filter_rows, get_series_by_seed, group_rows
from kdpipe.analysis.selection import build_finding, find_main_method, pivot_scratch_errors


def evaluate_last_generation(evidence: Evidence) -> Finding:
    """Compare the last generation of each network with scratch."""
    method = find_main_method(evidence.frame, "kd")
    rows = filter_rows(evidence.frame, kind="student", via="", method=method, stop_kind="full")
    rows = rows.loc[rows.teacher_network == rows.student_network]
    scratch_errors = pivot_scratch_errors(evidence.frame)
    contrasts, used = [], []
    for key, cells in group_rows(rows, "student", "block"):
        last = cells.generation.max()
        if last < 2:
            continue
        cell = filter_rows(cells, generation=last)
        used.append(cell)
        effect = (get_series_by_seed(cell) - scratch_errors[key["student"]]).dropna()
        text = f"error of {key['student']}, generation {last:g} - scratch"
        contrasts.append(Contrast(text, effect, "not better", evidence.delta))
    if not contrasts:
        raise UntestableClaim("no network of this study is taught by itself for two generations")
    return build_finding(
        contrasts, f"each generation taught by the one before, {method}", pd.concat(used)
    )


CLAIM = Claim(
    "The last of several generations is no better than training from scratch",
    evaluate_last_generation,
    question="not better",
)
