"""KD stopped early (ESKD) against KD to the end, alike in all but the stop (Table 3)."""

import pandas as pd

from kdpipe.analysis import published
from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    list_weight_columns,
    normalize_frame,
    select_direct_students,
)
from kdpipe.analysis.eval_point import get_other_error_column
from kdpipe.report.table import (
    HOW_TO_READ,
    TableData,
    TableSpec,
    build_table_data,
    get_scratch_errors,
    summarize_cell,
)


def build_eskd_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each full KD that has a stopped counterpart, and for each of these."""
    frame = normalize_frame(frame)
    scratch = get_scratch_errors(frame)
    students = filter_rows(select_direct_students(frame), method_kind=["kd", "eskd"])
    other_error = get_other_error_column(frame)
    measures = [other_error, "train_nll", "train_kl", "test_kl"]
    rows = []
    alike = ("temperature", *list_weight_columns(frame))
    for key, cells in group_rows(students, "student", "teacher", "stop", *alike):
        full_kd, eskd = filter_rows(cells, method_kind="kd"), filter_rows(cells, method_kind="eskd")
        if eskd.empty:
            continue
        for arm, cell in group_rows(full_kd, "method", "kd_epochs"):
            arm |= {"published": published.describe_published_error(cell)}
            rows.append(
                key | arm | summarize_cell(cell, measures, vs_scratch=scratch[key["student"]])
            )
        eskd = eskd.sort_values(["kd_epochs", "ce_weight_after_stop"], kind="stable")
        for arm, cell in group_rows(eskd, "method", "kd_epochs", "ce_weight_after_stop"):
            partners = {
                "vs_scratch": scratch[key["student"]],
                "vs_full_kd": get_series_by_seed(full_kd),
            }
            arm |= {"published": published.describe_published_error(cell)}
            rows.append(key | arm | summarize_cell(cell, measures, **partners))
    columns = (
        f"student teacher stop method kd_epochs ce_weight_after_stop error {other_error} "
        "vs_full_kd vs_scratch train_nll train_kl test_kl"
    )
    caption = f"{HOW_TO_READ} CE without its weight; KL times T^2, whether or not still trained on."
    return build_table_data(
        caption,
        rows,
        columns,
        kd_epochs="KD epochs",
        ce_weight_after_stop="CE weight after",
    )


TABLE = TableSpec("Full KD and KD stopped early", 30, build_eskd_table)
