"""Fully trained teachers of rising size for one student (Fig. 2, Table 1)."""

import pandas as pd

from kdpipe.analysis import published
from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    normalize_frame,
    select_direct_students,
)
from kdpipe.analysis.eval_point import get_other_error_column
from kdpipe.report.table import (
    HOW_TO_READ,
    TableData,
    TableSpec,
    build_table_data,
    summarize_cell,
)


def build_teacher_size_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each method and full teacher of a student, and for scratch."""
    frame = normalize_frame(frame)
    measures = [get_other_error_column(frame)]
    students = filter_rows(select_direct_students(frame), stop_kind="full")
    rows = []
    for key, cells in group_rows(students, "student"):
        scratch = filter_rows(frame, kind="scratch", **key)
        fields = {
            "method": "scratch",
            "teacher": "",
            "published": published.describe_published_error(scratch),
        }
        rows.append(key | fields | summarize_cell(scratch, measures))
        cells = cells.sort_values("method", kind="stable")
        for arm, cell in group_rows(cells, "method", "method_kind", "teacher"):
            fields = arm | {"published": published.describe_published_error(cell)}
            rows.append(
                key
                | fields
                | summarize_cell(cell, measures, vs_scratch=get_series_by_seed(scratch))
            )
    columns = (
        f"student method teacher teacher_parameters teacher_error error {measures[0]} vs_scratch"
    )
    return build_table_data(
        HOW_TO_READ, rows, columns, teacher_parameters="parameters of the teacher"
    )


TABLE = TableSpec("Teachers of rising size", 10, build_teacher_size_table)
