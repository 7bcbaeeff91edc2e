"""Attention transfer, alone and with KD, beside full KD from the same teachers.

The paper asks whether an early-stopped teacher helps attention transfer (AT) too. Whether its AT
runs also had the KD term is not known. So both are shown, each against the full teacher and against
full KD from the very same teacher.
"""

import pandas as pd

from kdpipe.analysis.claim import UntestableClaim
from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    normalize_frame,
    select_direct_students,
)
from kdpipe.analysis.selection import find_main_method
from kdpipe.report.table import (
    HOW_TO_READ,
    TableData,
    TableSpec,
    build_table_data,
    get_scratch_errors,
    summarize_cell,
)

ORDER = ("kd", "eskd", "at", "at+kd", "at, stopped", "at+kd, stopped")


def build_attention_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each pair, stop and method of the pairs that have attention transfer."""
    frame = normalize_frame(frame)
    scratch = get_scratch_errors(frame)
    students = select_direct_students(frame)
    try:
        kd = find_main_method(students, "kd")
    except UntestableClaim:
        kd = ""  # no full KD in this study
    attention_students = students.loc[students.method_kind.str.contains(r"(?:^|\+)at(?:\+|,|$)")]
    order = {kind: i for i, kind in enumerate(ORDER)}
    rows = []
    for key, cells in group_rows(attention_students, "student", "teacher"):
        pair = filter_rows(students, **key)
        for stop, stop_cells in group_rows(
            filter_rows(pair, stop=list(cells.stop.unique())), "stop"
        ):
            plain = get_series_by_seed(filter_rows(stop_cells, method=kd))
            stop_cells = stop_cells.sort_values(
                "method_kind", key=lambda kinds: kinds.map(order), kind="stable"
            )
            for arm, cell in group_rows(stop_cells, "method_kind", "method"):
                partners = {"vs_scratch": scratch[key["student"]]}
                if stop["stop"] != "full":
                    full = filter_rows(pair, stop="full", method=arm["method"])
                    partners["vs_full"] = get_series_by_seed(full)
                if arm["method"] != kd:
                    partners["vs_full_kd"] = plain
                rows.append(key | stop | arm | summarize_cell(cell, **partners))
    columns = "student teacher stop method teacher_error error vs_full vs_full_kd vs_scratch"
    caption = (
        f"{HOW_TO_READ} AT: attention transfer alone; AT + KD: both terms. Against full KD: "
        f"against {kd or 'none here'}, from the same teacher at the same stop."
    )
    return build_table_data(caption, rows, columns)


TABLE = TableSpec("Attention transfer", 70, build_attention_table)
