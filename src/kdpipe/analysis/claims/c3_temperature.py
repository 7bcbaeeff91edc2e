"""C3. C1 (b) at every other temperature of the sweep: err_S(L) - err_S(m) > 0.

The methods differ in temperature alone. Premise: on validation it holds at the temperature of
the study's KD, or there is nothing that another one could remove.
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import (
    filter_rows,
    group_rows,
    list_weight_columns,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.analysis.selection import build_finding, select_students
from kdpipe.analysis.teacher_contrasts import compute_teacher_size_effect
from kdpipe.stats.intervals import MIN_SEEDS, summarize, t_test_greater
from kdpipe.stats.power import LEVEL


def evaluate_temperature(evidence: Evidence) -> Finding:
    """Compare the largest teacher with the best smaller one at other temperatures."""
    base_students = select_students(evidence, "kd")
    base_row = base_students.iloc[0]
    shared_settings = {
        name: base_row[name] for name in (*list_weight_columns(base_students), "method_kind")
    }
    sweep = filter_rows(
        select_label_trained_teachers(select_direct_students(evidence.frame)), **shared_settings
    )
    if sweep.temperature.nunique() < 2:
        raise UntestableClaim("no two methods of this study differ in temperature alone")
    base = compute_teacher_size_effect(base_students)
    base_effect = base.compute_mean_effect("val_error").dropna()
    p = t_test_greater(base_effect, halves=base.halves)
    if len(base_effect) < MIN_SEEDS:
        raise UntestableClaim(
            f"{MIN_SEEDS} seeds at T = {base_row.temperature:g} are needed, "
            f"{len(base_effect)} are there"
        )
    if not p < LEVEL:
        raise UntestableClaim(
            f"on validation the largest teacher is not shown to be worse at T = "
            f"{base_row.temperature:g} (effect {summarize(base_effect).mean:+.2g} points, "
            f"p {p:.2g}): there is nothing to remove"
        )
    contrasts, used = [], [base_students]
    for key, rows in group_rows(sweep.sort_values("temperature", kind="stable"), "temperature"):
        if key["temperature"] == base_row.temperature:
            continue
        size_effect = compute_teacher_size_effect(filter_rows(rows, method=rows.method.iloc[0]))
        used.append(size_effect.rows)
        text = f"T = {key['temperature']:g}: error with the largest teacher - the best smaller one"
        contrasts.append(
            Contrast(
                text,
                size_effect.compute_mean_effect("test_error"),
                "above",
                evidence.delta,
                halves=size_effect.halves,
            )
        )
    return build_finding(
        contrasts,
        f"it holds on validation at T = {base_row.temperature:g}, p {p:.2g}",
        pd.concat(used),
    )


CLAIM = Claim(
    "A higher temperature does not make the largest teacher a good one",
    evaluate_temperature,
    question="difference",
)
