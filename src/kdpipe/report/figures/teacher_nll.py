"""A student's error against the NLL of its teacher on validation, over teachers and stops."""

import pandas as pd

from kdpipe.analysis.claim import UntestableClaim
from kdpipe.analysis.dataframe import get_series_by_seed, group_rows
from kdpipe.analysis.teacher_quality import (
    MEASURE,
    MIN_CELLS,
    add_teacher_measure,
    correlate_cells,
    select_taught_cells,
)
from kdpipe.report import style
from kdpipe.report.figure import (
    ERROR_LABEL,
    MAX_PANELS,
    FigureSpec,
    FigureWithCaption,
    assign_teacher_styles,
    describe_order,
)
from kdpipe.stats.intervals import summarize


def plot_teacher_nll(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw a panel for each student that has four teachers and stops."""
    students = _select_students(frame)
    if not students:
        return None
    figure, axes = style.make_panels(len(students))
    teachers = assign_teacher_styles(frame)
    for axis, (student, cells) in zip(axes, students, strict=False):
        for teacher, of_teacher in group_rows(cells, "teacher"):
            points = [
                (float(pd.Series(cell[MEASURE]).mean()), get_series_by_seed(cell))
                for _, cell in group_rows(of_teacher, "stop")
            ]
            series_style = teachers[teacher["teacher"]]
            style.plot_errorbars(
                axis, points, teacher["teacher"], **series_style | {"linestyle": "none"}
            )
        axis.set(
            title=student,
            xlabel="NLL of the teacher on validation, nat",
            ylabel=ERROR_LABEL,
        )
        stops = [cell for _, cell in group_rows(cells, "teacher", "stop")]
        errors = [summarize(get_series_by_seed(cell)) for cell in stops]
        cut_off = style.scale_errors(axis, errors)
        shown = [
            float(pd.Series(cell[MEASURE]).mean())
            for cell, error in zip(stops, errors, strict=True)
            if error.n and error.mean not in cut_off
        ]
        margin = 0.06 * (max(shown) - min(shown))
        axis.set_xlim(min(shown) - margin, max(shown) + margin)
    style.add_legend(figure, axes)
    return figure, (
        "A point for each stop of a teacher, with KD to the end; without untrained teachers. Claim "
        "N1 is about their order within each seed."
    )


def _select_students(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the students that have four teachers and stops, with these rows."""
    try:
        rows = select_taught_cells(frame)
    except UntestableClaim:
        return []
    rows = add_teacher_measure(rows, frame, "val_nll")
    rows = rows.loc[rows[MEASURE].notna() & rows.test_error.notna()]
    return [
        (key["student"], cells)
        for key, cells in group_rows(rows, "student")
        if len(cells.drop_duplicates(["teacher", "stop"])) >= MIN_CELLS
    ][:MAX_PANELS]


def find_order(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return of each student whether its errors have the order of its teachers' NLL."""
    texts = []
    for student, cells in _select_students(frame):
        rhos, _ = correlate_cells(cells)
        order = describe_order(rhos, "the error rises with it", "the error falls as it rises")
        texts.append(f"for {student} {order}")
    return "; ".join(texts)


FIGURE = FigureSpec(
    "The teacher's NLL and its students' error", 72, plot_teacher_nll, find=find_order
)
