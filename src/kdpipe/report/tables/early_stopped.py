"""Early-stopped teachers, each kind for itself, against the full teacher (Tables 7, 8)."""

import pandas as pd

from kdpipe.evidence import published
from kdpipe.evidence.reading import beside
from kdpipe.evidence.selections import by_seed, direct, groups, tidy, where
from kdpipe.report.rows import chosen_row, row, scratch_of
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made


def early_stopped(frame: pd.DataFrame) -> Grid:
    frame = tidy(frame)
    scratch, also = scratch_of(frame), [beside(frame)]
    rows = []
    for key, cells in groups(direct(frame), "student", "method", "method_kind", "teacher"):
        if set(cells.stop_kind) == {"full"}:
            continue
        full = by_seed(where(cells, stop_kind="full"))
        for kind, stopped in groups(cells, "stop_kind"):
            against = {"vs_scratch": scratch[key["student"]]}
            if kind["stop_kind"] != "full":
                against["vs_full"] = full
            lengths = {}
            for stop, cell in groups(stopped, "stop", "stop_epochs"):
                lengths[stop["stop"]] = cell
                stop |= {"published": published.beside(cell)}
                rows.append(key | kind | stop | row(cell, also, **against))
            if kind["stop_kind"] != "full":
                chosen = {"stop": f"{kind['stop_kind']}, chosen"}
                rows.append(key | kind | chosen | chosen_row(lengths, **against))
    columns = (
        f"student method teacher stop teacher_error error error_median {also[0]} vs_full vs_scratch"
    )
    caption = (
        f"{HOW_TO_READ} Schedule a/n: a run of n epochs with a drop every a; checkpoint n: the "
        "full run after epoch n; chosen: for each seed the length with the lowest mean "
        "validation error of the other seeds."
    )
    return made(caption, rows, columns, error_median="median")


TABLE = Table("Early-stopped teachers", 60, early_stopped)
