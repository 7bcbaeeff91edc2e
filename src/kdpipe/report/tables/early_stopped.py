"""TODO report.tables.early_stopped, from tables."""

import pandas as pd

from kdpipe.evidence.numbers import chosen_row, row, scratch_of
from kdpipe.evidence.selections import by_seed, direct, groups, tidy, where
from kdpipe.report import published
from kdpipe.report.table import HOW_TO_READ, Table, made


def early_stopped(frame: pd.DataFrame) -> Table:
    """Early-stopped teachers, each kind for itself, against the full teacher (Tables 7, 8)."""
    frame = tidy(frame)
    scratch = scratch_of(frame)
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
                rows.append(key | kind | stop | row(cell, **against))
            if kind["stop_kind"] != "full":
                chosen = {"stop": f"{kind['stop_kind']}, chosen"}
                rows.append(key | kind | chosen | chosen_row(lengths, **against))
    columns = "student method teacher stop teacher_error error error_median vs_full vs_scratch"
    caption = (
        f"{HOW_TO_READ} `schedule a/n`: a run of n epochs with a drop every a; `checkpoint n`: the "
        "full run after epoch n; `chosen`: for each seed the length with the lowest mean "
        "validation error of the other seeds."
    )
    return made("early_stopped", "Early-stopped teachers", caption, rows, columns)
