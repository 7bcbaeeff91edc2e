"""Entropy and confidence of teachers: against their size, and along their training."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    select_label_trained_teachers,
)
from kdpipe.report import style
from kdpipe.report.figure import MAX_PANELS, TEACHER_MACS_LABEL, FigureSpec, FigureWithCaption


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
    axis_labels = {"entropy": "entropy, nat", "confidence": "mean confidence"}
    for axis, (column, label) in zip(axes, axis_labels.items(), strict=False):
        for i, split in enumerate(("train", "test")):
            points = [
                (
                    c.teacher_multiply_adds.iloc[0] * style.dodge(i, 2),
                    get_series_by_seed(c, f"{split}_{column}"),
                )
                for _, c in group_rows(full_teachers, "teacher")
            ]
            style.plot_errorbars(axis, points, split, **style.get_series_style(i))
        names = full_teachers.drop_duplicates("teacher")
        axis.set(xscale="log", xlabel=TEACHER_MACS_LABEL, ylabel=label)
        style.set_tick_names(axis, names.teacher_multiply_adds, names.teacher)
    style.add_legend(figure, axes[:2])
    for axis, (column, label) in zip(axes[2:], axis_labels.items(), strict=False):
        for i, (teacher, cells) in enumerate(trajectories):
            lengths = cells.sort_values("stop_epochs")
            points = [
                (k["stop_epochs"], get_series_by_seed(c, f"test_{column}"))
                for k, c in group_rows(lengths, "stop_epochs")
            ]
            style.plot_errorbars(axis, points, teacher, **style.get_series_style(i))
        axis.set(xlabel="epochs of the teacher", ylabel=f"{label}, test")
    if trajectories:
        axes[2].legend()
    return figure, "Of the teachers' own softmax at T = 1: fully trained, and along checkpoints."


FIGURE = FigureSpec("Confidence of the teachers", 70, plot_confidence)
