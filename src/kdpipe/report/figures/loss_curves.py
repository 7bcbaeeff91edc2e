"""Full KD against ESKD: CE, KD loss and validation error by epoch, with the stop marked."""

from typing import Any

import pandas as pd

from kdpipe.analysis.dataframe import filter_rows, get_series_by_seed, group_rows
from kdpipe.analysis.selection import find_main_method
from kdpipe.report import style
from kdpipe.report.figure import (
    FigureSpec,
    FigureWithCaption,
    assign_method_styles,
    select_full_teacher_students,
)
from kdpipe.report.format import format_estimate
from kdpipe.stats.intervals import describe_difference, summarize, summarize_columns


def plot_loss_curves(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw the curves of one student and its largest teacher."""
    rows = _select_rows(frame)
    if curves.empty or rows.empty:
        return None
    student, teacher = rows.student.iloc[0], rows.teacher.iloc[0]
    parts = {"train_ce": "CE, train, nat", "train_kd": "KD loss, train, nat"}
    parts["val_error"] = "validation error, %"
    figure, axes = style.make_panels(3, width=2.9)
    lines = {"scratch": filter_rows(frame, kind="scratch", student=student)}
    lines |= {key["method"]: cell for key, cell in group_rows(rows, "method")}
    styles = assign_method_styles(frame) | {"scratch": style.ROLE_STYLES["scratch"]}
    for axis, (column, label) in zip(axes, parts.items(), strict=True):
        axis.set(xlabel="epoch", ylabel=label)
        for name, cell in lines.items():
            if column not in curves or not curves.run.isin(cell.run).any():
                continue
            values = curves[curves.run.isin(cell.run)].pivot(
                index="epoch", columns="run", values=column
            )
            values = values.dropna(how="all")
            style_args: dict[str, Any] = styles[name] | {"marker": ""}
            seeds = cell.drop_duplicates("run").set_index("run").seed[values.columns]
            stats = summarize_columns(values.to_numpy(float).T, replicate_ids=seeds.to_numpy(float))
            axis.plot(values.index, [s.mean for s in stats], label=name, **style_args)
            band = {"alpha": 0.15, "color": style_args["color"], "linewidth": 0}
            ends = [s.low for s in stats], [s.high for s in stats]
            axis.fill_between(values.index, *ends, **band)
        for epoch in filter_rows(rows, method_kind="eskd").kd_epochs.unique():
            axis.axvline(epoch, color="#000000", linewidth=1, linestyle=(0, (4, 2)))
    style.add_legend(figure, axes)
    return figure, (
        f"{student} taught by {teacher}; the dashed line marks where ESKD drops the KD term. Train "
        "values are running means with augmentation."
    )


def _select_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one student with its largest teacher, by the main KD and ESKD."""
    students = select_full_teacher_students(frame)
    eskd = filter_rows(students, method_kind="eskd")
    if eskd.empty:
        return eskd
    student = eskd.student.iloc[0]
    teacher = filter_rows(eskd, student=student).sort_values("teacher_rank").teacher.iloc[-1]
    methods = [find_main_method(frame, "kd"), find_main_method(frame, "eskd")]
    return filter_rows(students, student=student, teacher=teacher, method=methods)


def find_better_method(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return whether the validation errors of both methods can be told apart."""
    kd, eskd = find_main_method(frame, "kd"), find_main_method(frame, "eskd")
    errors = {
        key["method"]: get_series_by_seed(cell, "val_error").astype(float)
        for key, cell in group_rows(_select_rows(frame), "method")
    }
    if len(errors) < 2:
        return ""
    difference = summarize((errors[eskd] - errors[kd]).dropna())
    size = format_estimate(difference.mean, difference.half_width, "+")
    words = {"better": "lower", "worse": "higher"}.get(describe_difference(difference))
    if words is None:
        return f"no difference in validation error can be told ({size} points)"
    return f"{eskd} has a {words} validation error than {kd} ({size} points)"


FIGURE = FigureSpec(
    "Full KD and KD stopped early, epoch by epoch",
    40,
    plot_loss_curves,
    find=find_better_method,
)
