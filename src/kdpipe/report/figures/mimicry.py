"""KD error on train and test against the size of the teacher."""

import pandas as pd

from kdpipe.analysis.dataframe import filter_rows, get_series_by_seed, group_rows
from kdpipe.analysis.selection import find_main_method
from kdpipe.report import style
from kdpipe.report.figure import (
    FigureSpec,
    FigureWithCaption,
    group_by_student,
    place_teachers,
    scale_teachers,
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
        places, is_by_cost = place_teachers(part)
        for i, split in enumerate(("train", "test")):
            points = [
                (
                    style.shift(places[key["teacher"]], i, 2, is_by_cost),
                    get_series_by_seed(c, f"{split}_kd_error"),
                )
                for key, c in group_rows(part.sort_values("teacher_rank"), "teacher")
            ]
            look = style.ROLE_STYLES[split] | ({} if is_by_cost else {"linestyle": ""})
            style.plot_errorbars(axis, points, split, **look)
        axis.set(title=student, ylabel="KD error, %\n\u2190 closer to the teacher")
        scale_teachers(axis, places, is_by_cost)
    style.add_legend(figure, axes)
    return figure, "Share of images that student and teacher classify differently, full KD."


FIGURE = FigureSpec("How far students stay from their teachers", 50, plot_mimicry)
