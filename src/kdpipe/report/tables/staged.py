"""Chains with a method for each step, against one method throughout and against direct students."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    PATH_SEPARATOR,
    add_path_label,
    filter_rows,
    get_series_by_seed,
    group_rows,
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


def build_staged_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each staged chain, and for the chain and the student it is compared with."""
    frame = normalize_frame(frame)
    scratch = get_scratch_errors(frame)
    students = filter_rows(frame, kind="student")
    staged = students.loc[students.method.str.contains(PATH_SEPARATOR, regex=False)]
    staged = staged.loc[(staged.via != "") | (staged.generation > 1)]
    rows = {}  # by path, since staged chains share their partners
    for key, cell in group_rows(
        staged, "student", "teacher", "stop", "via", "generation", "method"
    ):
        base = scratch[key["student"]]
        chain = key | {"method": key["method"].split(PATH_SEPARATOR)[-1]}
        direct_key = chain | {"via": "", "generation": 1}
        plain, straight = (
            filter_rows(students, **chain),
            filter_rows(select_direct_students(students), **direct_key),
        )
        for path, part in ((direct_key, straight), (chain, plain)):
            rows[tuple(path.values())] = add_path_label(path) | summarize_cell(
                part, vs_scratch=base
            )
        partners = {
            "vs_plain": get_series_by_seed(plain),
            "vs_direct": get_series_by_seed(straight),
        }
        rows[tuple(key.values())] = add_path_label(key) | summarize_cell(
            cell, vs_scratch=base, **partners
        )
    columns = "path stop generation method error vs_plain vs_direct vs_scratch"
    caption = f"{HOW_TO_READ} The plain chain and the direct student use the last step's method."
    return build_table_data(caption, list(rows.values()), columns)


TABLE = TableSpec("Chains with a method for each step", 110, build_staged_table)
