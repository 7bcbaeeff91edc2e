"""Chains: large to medium to small, against large to small and medium to small (Table 6)."""

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


def build_chains_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each chain, and for the direct students that it is compared with."""
    frame = normalize_frame(frame)
    scratch = get_scratch_errors(frame)
    plain = frame.loc[~frame.method.str.contains(PATH_SEPARATOR, regex=False)]
    chains = filter_rows(plain, kind="student")
    chains = chains.loc[(chains.via != "") & (chains.generation <= 1)]
    rows = {}  # by path, since chains share their direct students
    for key, cell in group_rows(chains, "student", "method", "teacher", "stop", "via"):
        base = scratch[key["student"]]
        large = key | {"via": ""}
        block = key["teacher"].removeprefix(cell.teacher_label.iloc[0])  # nearly always ""
        medium = large | {"teacher": key["via"].split(PATH_SEPARATOR)[-1] + block, "stop": "full"}
        partners = {}
        for name, path in (("vs_direct", large), ("vs_medium", medium)):
            part = filter_rows(select_direct_students(plain), **path)
            rows[tuple(path.values())] = add_path_label(path) | summarize_cell(
                part, vs_scratch=base
            )
            partners[name] = get_series_by_seed(part)
        rows[tuple(key.values())] = add_path_label(key) | summarize_cell(
            cell, vs_scratch=base, **partners
        )
    columns = "path stop method error vs_direct vs_medium vs_scratch"
    return build_table_data(
        HOW_TO_READ, list(rows.values()), columns, vs_medium="against medium to small"
    )


TABLE = TableSpec("Chains", 90, build_chains_table)
