"""Cross-entropy and both forms of the KD loss of every cell, last and best epoch."""

import pandas as pd

from kdpipe.evidence import reading
from kdpipe.evidence.selections import LOSSES, groups, tidy
from kdpipe.report.rows import row, scratch_of
from kdpipe.report.table import Grid, Table, made


def losses(frame: pd.DataFrame) -> Grid:
    if reading.of(frame) == "best":
        best, what = [], "Values at the best epoch on validation"
    else:
        best, what = [f"best_{loss}" for loss in LOSSES if f"best_{loss}" in frame], "Final values"
    frame = tidy(frame)
    scratch = scratch_of(frame)
    measures = [*LOSSES, *best, "best_epoch", "best_val_error", reading.beside(frame)]
    cell_of = ("kind", "student", "method", "teacher", "stop", "via", "generation", "ensemble")
    rows = []
    for key, cell in groups(frame, *cell_of, "method_kind", "epochs"):
        compared = key["student"] and key["kind"] != "scratch"
        base = scratch[key["student"]] if compared else None
        rows.append(key | row(cell, measures, vs_scratch=base))
    shown = [column for column in measures if "val_" not in column]
    columns = f"{' '.join(cell_of)} error {' '.join(shown)}"
    caption = f"{what}: eval mode, centre view. Best: lowest validation error. KL times T^2."
    return made(caption, rows, columns, best_test_error="error at best")


TABLE = Table("Losses", 130, losses)
