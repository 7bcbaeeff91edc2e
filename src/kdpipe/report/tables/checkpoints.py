"""Teacher checkpoints (down) by students (across); in `data` one row for each pair."""

import pandas as pd

from kdpipe.evidence.selections import direct, groups, teacher_errors, tidy
from kdpipe.learning.method import heading as heading_of
from kdpipe.learning.method import is_kd
from kdpipe.report.differences import said
from kdpipe.report.rows import estimate, row, scratch_of
from kdpipe.report.table import HOW_TO_READ, Grid, Table, text


def checkpoints(frame: pd.DataFrame) -> Grid:
    frame = tidy(frame)
    scratch = scratch_of(frame)
    order = ["teacher_rank", "teacher", "stop_rank", "stop_epochs"]
    taught = direct(frame).sort_values(order, kind="stable")
    point = ("teacher", "teacher_network", "stop", "stop_kind", "stop_epochs", "teacher_lr")
    rows, grid, places = [], [], []
    for key, cells in groups(taught, *point):
        teacher = key | estimate("teacher_error", teacher_errors(cells))
        shown = {"teacher": "teacher", "stop": "stop", "epochs": "stop_epochs", "lr": "teacher_lr"}
        shown["error of the teacher"] = "teacher_error"
        grid.append({heading: text(teacher, column) for heading, column in shown.items()})
        for arm, cell in groups(cells, "student", "method", "method_kind"):
            rows.append(key | arm | row(cell, vs_scratch=scratch[arm["student"]]))
            heading = f"{arm['student']}, {arm['method']}"
            if not is_kd(arm["method_kind"]):
                heading += f" ({heading_of(arm['method_kind'])})"
            places.append((grid[-1], heading))

    def display(rows: list[dict]) -> pd.DataFrame:
        for found, (line, heading) in zip(rows, places, strict=True):
            line[heading] = f"{text(found, 'error')} (n {found['n']}, {said(found, 'vs_scratch')})"
        return pd.DataFrame(grid).fillna("-")

    caption = (
        f"{HOW_TO_READ} In brackets the verdict against scratch. A checkpoint before the first "
        "drop of the learning rate (lr) is noisy."
    )
    return Grid(caption, rows, [], {}, display)


TABLE = Table("Teacher checkpoints", 50, checkpoints)
