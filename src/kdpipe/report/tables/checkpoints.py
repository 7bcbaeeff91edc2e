"""Teacher checkpoints (down) by students (across); the data have one row for each pair."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    drop_longer_teachers,
    get_teacher_errors,
    group_rows,
    normalize_frame,
    select_direct_students,
)
from kdpipe.losses.method import is_plain_kd
from kdpipe.losses.method import short_label as heading_of
from kdpipe.report.table import (
    HOW_TO_READ,
    TableData,
    TableSpec,
    estimate_mean,
    format_cell,
    format_mark,
    get_scratch_errors,
    summarize_cell,
)


def build_checkpoints_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each student of each checkpoint, displayed as a grid."""
    frame = normalize_frame(frame)
    scratch = get_scratch_errors(frame)
    order = ["teacher_rank", "teacher", "stop_rank", "stop_epochs"]
    students = drop_longer_teachers(select_direct_students(frame))
    students = students.sort_values(order, kind="stable")
    point = ("teacher", "teacher_network", "stop", "stop_kind", "stop_epochs", "teacher_lr")
    rows, grid, display_cells = [], [], []
    for key, cells in group_rows(students, *point):
        teacher = key | estimate_mean("teacher_error", get_teacher_errors(cells))
        point_columns = {
            "teacher": "teacher",
            "stop": "stop",
            "epochs": "stop_epochs",
            "lr": "teacher_lr",
        }
        point_columns["error of the teacher"] = "teacher_error"
        grid.append(
            {heading: format_cell(teacher, column) for heading, column in point_columns.items()}
        )
        for arm, cell in group_rows(cells, "student", "method", "method_kind"):
            rows.append(key | arm | summarize_cell(cell, vs_scratch=scratch[arm["student"]]))
            heading = f"{arm['student']}, {arm['method']}"
            if not is_plain_kd(arm["method_kind"]):
                heading += f" ({heading_of(arm['method_kind'])})"
            display_cells.append((grid[-1], heading))

    def display(rows: list[dict]) -> pd.DataFrame:
        for row, (line, heading) in zip(rows, display_cells, strict=True):
            line[heading] = (
                f"{format_cell(row, 'error')} (n {row['n']}, {format_mark(row, 'vs_scratch')})"
            )
        return pd.DataFrame(grid).fillna("-")

    caption = (
        f"{HOW_TO_READ} In brackets the verdict against scratch. A checkpoint before the first "
        "drop of the learning rate (lr) is noisy."
    )
    return TableData(caption, rows, [], {}, display)


TABLE = TableSpec("Teacher checkpoints", 50, build_checkpoints_table)
