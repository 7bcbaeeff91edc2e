"""Students of a teacher that was itself distilled, beside those of its plain network."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    get_teacher_errors,
    group_rows,
    normalize_frame,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.report.table import (
    HOW_TO_READ,
    TableData,
    TableSpec,
    build_table_data,
    estimate_difference,
    get_scratch_errors,
    summarize_cell,
)


def build_improved_teacher_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each distilled teacher, and for its plain network."""
    frame = normalize_frame(frame)
    scratch = get_scratch_errors(frame)
    students = filter_rows(select_direct_students(frame), stop_kind="full")
    students = students.loc[students.teacher_network != ""]  # an ensemble is no network
    plain_rows = select_label_trained_teachers(students)
    improved = students.drop(plain_rows.index)
    rows = []
    for key, cells in group_rows(improved, "student", "method", "teacher_network"):
        base = scratch[key["student"]]
        plain = filter_rows(plain_rows, **key)
        label = plain.teacher.iloc[0] if len(plain) else key["teacher_network"]
        plain = filter_rows(plain, teacher=label)
        rows.append(key | {"teacher": label} | summarize_cell(plain, vs_scratch=base))
        for name, cell in group_rows(cells, "teacher"):
            fields = summarize_cell(cell, vs_scratch=base, vs_plain=get_series_by_seed(plain))
            fields |= estimate_difference(
                "teacher_vs_plain", get_teacher_errors(cell), get_teacher_errors(plain)
            )
            rows.append(key | name | fields)
    columns = (
        "student method teacher teacher_network teacher_error teacher_vs_plain error vs_plain "
        "vs_scratch"
    )
    return build_table_data(
        HOW_TO_READ,
        rows,
        columns,
        teacher_network="its network",
        teacher_vs_plain="teacher against the plain one",
    )


TABLE = TableSpec("Improved teachers", 100, build_improved_teacher_table)
