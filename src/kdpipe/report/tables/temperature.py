"""Methods that differ in temperature only."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    group_rows,
    list_weight_columns,
    normalize_frame,
    select_direct_students,
)
from kdpipe.report.table import (
    HOW_TO_READ,
    TableData,
    TableSpec,
    build_table_data,
    get_scratch_errors,
    summarize_cell,
)


def build_temperature_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each temperature of methods that are otherwise alike."""
    frame = normalize_frame(frame)
    scratch = get_scratch_errors(frame)
    alike = ("method_kind", *list_weight_columns(frame), "kd_epochs", "ce_weight_after_stop")
    rows = []
    for key, cells in group_rows(
        select_direct_students(frame), "student", "teacher", "stop", *alike
    ):
        if cells.temperature.nunique() < 2:
            continue
        sweep = cells.sort_values("temperature", kind="stable")
        for arm, cell in group_rows(sweep, "temperature", "method"):
            rows.append(key | arm | summarize_cell(cell, vs_scratch=scratch[key["student"]]))
    columns = "student teacher stop temperature method error vs_scratch"
    return build_table_data(HOW_TO_READ, rows, columns)


TABLE = TableSpec("Temperature", 40, build_temperature_table)
