"""Early-stopped teachers, each kind of stop separately, against the full teacher (Tables 7, 8)."""

import pandas as pd

from kdpipe.analysis import published
from kdpipe.analysis.dataframe import (
    drop_longer_teachers,
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
    get_scratch_errors,
    summarize_cell,
    summarize_chosen_length,
)
from kdpipe.stats.error_provenance import ErrorMaskLookup


def build_early_stopped_table(
    frame: pd.DataFrame, outcomes: ErrorMaskLookup | None = None
) -> TableData:
    """Build a row for each stop of a teacher, and for the length that validation chose."""
    frame = normalize_frame(frame)
    scratch, measures = get_scratch_errors(frame), [get_other_error_column(frame)]
    rows = []
    students = drop_longer_teachers(select_direct_students(frame))
    for key, cells in group_rows(students, "student", "method", "method_kind", "teacher"):
        if set(cells.stop_kind) == {"full"}:
            continue
        full = get_series_by_seed(filter_rows(cells, stop_kind="full"))
        for kind, kind_cells in group_rows(cells, "stop_kind"):
            partners = {"vs_scratch": scratch[key["student"]]}
            if kind["stop_kind"] != "full":
                partners["vs_full"] = full
            lengths = {}
            for stop, cell in group_rows(kind_cells, "stop", "stop_epochs"):
                lengths[stop["stop"]] = cell
                stop |= {"published": published.describe_published_error(cell)}
                rows.append(key | kind | stop | summarize_cell(cell, measures, **partners))
            if kind["stop_kind"] != "full":
                chosen_stop = {"stop": f"{kind['stop_kind']}, chosen"}
                chosen = summarize_chosen_length(lengths, outcomes, **partners)
                rows.append(key | kind | chosen_stop | chosen)
    columns = (
        "student method teacher stop teacher_error error error_median "
        f"{measures[0]} vs_full vs_scratch"
    )
    caption = (
        f"{HOW_TO_READ} Schedule a/n: a run of n epochs with a drop every a; checkpoint n: the "
        "full run after epoch n; chosen: for each seed the length with the lowest mean "
        "validation error of the other seeds."
    )
    return build_table_data(caption, rows, columns, error_median="median")


TABLE = TableSpec("Early-stopped teachers", 60, build_early_stopped_table, uses_images=True)
