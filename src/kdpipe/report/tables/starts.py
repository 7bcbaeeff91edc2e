"""What initial weights add: networks that start from weights, and the same ones at random."""

import pandas as pd

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
    get_scratch_errors,
    summarize_cell,
)

PATH = ("teacher", "stop", "method", "method_kind")


def build_starts_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each network, on labels only and distilled by the same teacher and method."""
    frame = normalize_frame(frame)
    if "network" not in frame:
        frame = frame.assign(network=float("nan"))
    scratch, measures = get_scratch_errors(frame), [get_other_error_column(frame)]
    scratch_runs, students = filter_rows(frame, kind="scratch"), select_direct_students(frame)
    rows = []
    initialized = frame.loc[frame.network.notna()].drop_duplicates("student")
    initialized = initialized.sort_values("student", kind="stable")
    for network, names in group_rows(initialized, "network", "length", "train_size"):
        at_random = {"student_network": network.pop("network"), **network}  # trained alike
        base = next(iter(filter_rows(frame, **at_random).student), at_random["student_network"])
        for student in [base, *names.student]:
            start_text = "at random" if student == base else "from weights"
            entry = {"student": student, "begins": start_text}
            random = {} if student == base else {"vs_random": scratch.get(base)}
            if len(cell := filter_rows(scratch_runs, student=student)):
                rows.append(
                    entry | {"method": "scratch"} | summarize_cell(cell, measures, **random)
                )
            for path, cell in group_rows(filter_rows(students, student=student), *PATH):
                partners = {"vs_scratch": scratch[student]}
                random_start = filter_rows(students, student=base, **path)
                if student != base and len(random_start):
                    partners["vs_random"] = get_series_by_seed(random_start)
                rows.append(entry | path | summarize_cell(cell, measures, **partners))
    columns = (
        f"student begins teacher stop method error {measures[0]} vs_random vs_scratch parameters"
    )
    caption = (
        f"{HOW_TO_READ} Networks that begin from weights, on labels (scratch) and taught, against "
        "the same network that begins at random and is trained in the same way; and what is taught "
        "against its own scratch run, which begins as it does."
    )
    return build_table_data(caption, rows, columns, begins="begins", vs_random="against at random")


TABLE = TableSpec("From weights and at random", 67, build_starts_table)
