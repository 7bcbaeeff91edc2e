"""Fully trained teachers of rising size for one student (Fig. 2, Table 1)."""

import pandas as pd

from kdpipe.evidence import published
from kdpipe.evidence.reading import beside
from kdpipe.evidence.selections import by_seed, direct, groups, tidy, where
from kdpipe.report.rows import row
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made


def teacher_size(frame: pd.DataFrame) -> Grid:
    frame = tidy(frame)
    also = [beside(frame)]
    taught = where(direct(frame), stop_kind="full")
    rows = []
    for key, cells in groups(taught, "student"):
        alone = where(frame, kind="scratch", **key)
        found = {"method": "scratch", "teacher": "", "published": published.beside(alone)}
        rows.append(key | found | row(alone, also))
        cells = cells.sort_values("method", kind="stable")
        for arm, cell in groups(cells, "method", "method_kind", "teacher"):
            found = arm | {"published": published.beside(cell)}
            rows.append(key | found | row(cell, also, vs_scratch=by_seed(alone)))
    columns = f"student method teacher teacher_parameters teacher_error error {also[0]} vs_scratch"
    return made(HOW_TO_READ, rows, columns, teacher_parameters="parameters of the teacher")


TABLE = Table("Teachers of rising size", 10, teacher_size)
