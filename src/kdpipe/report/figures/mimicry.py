"""KD error on train and test against the size of the teacher."""

import pandas as pd

from kdpipe.analysis.dataframe import filter_rows, get_series_by_seed, group_rows
from kdpipe.analysis.selection import find_main_method
from kdpipe.report import style
from kdpipe.report.figure import (
    TEACHER_MACS_LABEL,
    FigureSpec,
    FigureWithCaption,
    group_by_student,
    select_full_teacher_students,
)


def plot_mimicry(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw a panel for each student of several full teachers."""
    rows = filter_rows(select_full_teacher_students(frame), method=find_main_method(frame, "kd"))
    students = [(s, p) for s, p in group_by_student(rows) if p.teacher.nunique() > 1]
    if not students or rows.test_kd_error.isna().all():
        return None
    figure, axes = style.make_panels(len(students))
    for axis, (student, part) in zip(axes, students, strict=True):
        for i, split in enumerate(("train", "test")):
            points = [
                (
                    c.teacher_multiply_adds.iloc[0] * style.dodge(i, 2),
                    get_series_by_seed(c, f"{split}_kd_error"),
                )
                for _, c in group_rows(part.sort_values("teacher_rank"), "teacher")
            ]
            style.plot_errorbars(axis, points, split, **style.get_series_style(i))
        names = part.drop_duplicates("teacher").sort_values("teacher_rank")
        axis.set(title=student, xscale="log", xlabel=TEACHER_MACS_LABEL, ylabel="KD error, %")
        style.set_tick_names(axis, names.teacher_multiply_adds, names.teacher)
    style.add_legend(figure, axes)
    return figure, "Share of images that student and teacher classify differently, full KD."


FIGURE = FigureSpec("How far students stay from their teachers", 50, plot_mimicry)
