"""Cross-entropy and both forms of the KD loss of every cell, at the last and the best epoch."""

import pandas as pd

from kdpipe.analysis import eval_point
from kdpipe.analysis.dataframe import LOSS_COLUMNS, group_rows, normalize_frame
from kdpipe.report.table import (
    TableData,
    TableSpec,
    build_table_data,
    get_scratch_errors,
    summarize_cell,
)


def build_losses_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each cell of the study."""
    if eval_point.get_eval_point(frame) == "best":
        best, values_note = [], "Values at the best epoch on validation"
    else:
        best, values_note = (
            [f"best_{loss}" for loss in LOSS_COLUMNS if f"best_{loss}" in frame],
            "Final values",
        )
    frame = normalize_frame(frame)
    scratch = get_scratch_errors(frame)
    measures = [
        *LOSS_COLUMNS,
        *best,
        "best_epoch",
        "best_val_error",
        eval_point.get_other_error_column(frame),
    ]
    cell_of = ("kind", "student", "method", "teacher", "stop", "via", "generation", "ensemble")
    rows = []
    for key, cell in group_rows(frame, *cell_of, "method_kind", "epochs"):
        compared = key["student"] and key["kind"] != "scratch"
        base = scratch[key["student"]] if compared else None
        rows.append(key | summarize_cell(cell, measures, vs_scratch=base))
    shown_measures = [column for column in measures if "val_" not in column]
    columns = f"{' '.join(cell_of)} error {' '.join(shown_measures)}"
    caption = f"{values_note}: eval mode, centre view. Best: lowest validation error. KL times T^2."
    return build_table_data(caption, rows, columns, best_test_error="error at best")


TABLE = TableSpec("Losses", 130, build_losses_table)
