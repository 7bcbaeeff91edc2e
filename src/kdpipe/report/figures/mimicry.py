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
from kdpipe.report.format import format_estimate
from kdpipe.stats.intervals import describe_difference, summarize

DISTANCES = {"better": "closer to", "worse": "farther from"}  # by the mark of a KD error


def plot_mimicry(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw a panel for each student of several full teachers."""
    students = _select_students(frame)
    if not students:
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


def _select_students(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the students of several full teachers, with their rows; none without KD errors."""
    rows = filter_rows(select_full_teacher_students(frame), method=find_main_method(frame, "kd"))
    if rows.test_kd_error.isna().all():
        return []
    return [(s, part) for s, part in group_by_student(rows) if part.teacher.nunique() > 1]


def find_distance(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return of each student whether it stays farther from its largest than its smallest teacher.

    Both are known beforehand, so their difference on test is one comparison, paired by seed.
    """
    texts = []
    for student, part in _select_students(frame):
        errors = {
            key["teacher"]: get_series_by_seed(cell, "test_kd_error").astype(float)
            for key, cell in group_rows(part.sort_values("teacher_rank"), "teacher")
        }
        smallest, *_, largest = errors
        difference = summarize((errors[largest] - errors[smallest]).dropna())
        mark = describe_difference(difference)
        if mark in DISTANCES:
            size = format_estimate(difference.mean, difference.half_width, "+")
            texts.append(
                f"{student} is {DISTANCES[mark]} {largest} than {smallest} ({size} points)"
            )
        else:
            texts.append(f"{student} has no difference that can be told")
    return "; ".join(texts)


FIGURE = FigureSpec(
    "How far students stay from their teachers", 50, plot_mimicry, find=find_distance
)
