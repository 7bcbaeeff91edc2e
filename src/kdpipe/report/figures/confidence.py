"""Entropy and confidence of teachers: against their size, and along their training."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    select_label_trained_teachers,
)
from kdpipe.report import style
from kdpipe.report.figure import (
    MAX_PANELS,
    FigureSpec,
    FigureWithCaption,
    assign_teacher_styles,
    place_teachers,
    scale_teachers,
)
from kdpipe.report.format import format_estimate
from kdpipe.stats.intervals import describe_difference, summarize


def plot_confidence(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw both, where a study has two full teachers."""
    rows = select_label_trained_teachers(filter_rows(frame, kind="teacher")).sort_values(
        "teacher_rank", kind="stable"
    )
    full_teachers = filter_rows(rows, stop_kind="full")
    if full_teachers.teacher.nunique() < 2:
        return None
    trajectories = [
        (key["teacher"], cells)
        for key, cells in group_rows(filter_rows(rows, stop_kind=["full", "checkpoint"]), "teacher")
        if cells.stop_epochs.nunique() > 1
    ][:MAX_PANELS]
    figure, axes = style.make_panels(4 if trajectories else 2)
    places, is_by_cost = place_teachers(full_teachers)
    teachers = assign_teacher_styles(frame)
    axis_labels = {"entropy": "entropy, nat", "confidence": "mean confidence"}
    for axis, (column, label) in zip(axes, axis_labels.items(), strict=False):
        for i, split in enumerate(("train", "test")):
            points = [
                (
                    style.shift(places[key["teacher"]], i, 2, is_by_cost),
                    get_series_by_seed(c, f"{split}_{column}"),
                )
                for key, c in group_rows(full_teachers, "teacher")
            ]
            look = style.ROLE_STYLES[split] | ({} if is_by_cost else {"linestyle": ""})
            style.plot_errorbars(axis, points, split, **look)
        axis.set(ylabel=label)
        scale_teachers(axis, places, is_by_cost)
    style.add_legend(figure, axes[:2])
    for axis, (column, label) in zip(axes[2:], axis_labels.items(), strict=False):
        for teacher, cells in trajectories:
            lengths = cells.sort_values("stop_epochs")
            points = [
                (k["stop_epochs"], get_series_by_seed(c, f"test_{column}"))
                for k, c in group_rows(lengths, "stop_epochs")
            ]
            style.plot_errorbars(axis, points, teacher, **teachers[teacher])
        axis.set(xlabel="epochs of the teacher", ylabel=f"{label}, test")
    for axis in axes[2:]:  # few lines: their names stand at their ends
        style.label_lines(axis)
    return figure, "Of the teachers' own softmax at T = 1: fully trained, and along checkpoints."


def find_confidence(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return whether the largest teacher is more confident on test than the smallest one.

    Both are known beforehand, so this is one comparison, paired by seed.
    """
    rows = select_label_trained_teachers(filter_rows(frame, kind="teacher", stop_kind="full"))
    confidences = {
        key["teacher"]: get_series_by_seed(cell, "test_confidence").astype(float)
        for key, cell in group_rows(rows.sort_values("teacher_rank", kind="stable"), "teacher")
    }
    smallest, *_, largest = confidences
    difference = summarize((confidences[largest] - confidences[smallest]).dropna())
    words = {"worse": "more", "better": "less"}.get(describe_difference(difference))
    if words is None:
        return "no difference between the smallest and the largest can be told"
    size = format_estimate(difference.mean, difference.half_width, "+")
    return f"{largest} is {words} confident than {smallest} ({size} on test)"


FIGURE = FigureSpec("Confidence of the teachers", 70, plot_confidence, find=find_confidence)
