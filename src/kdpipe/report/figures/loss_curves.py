"""Full KD against ESKD: CE, KD loss and validation error by epoch, with the stop marked."""

from typing import Any

import pandas as pd

from kdpipe.analysis.dataframe import filter_rows, group_rows
from kdpipe.analysis.selection import find_main_method
from kdpipe.report import style
from kdpipe.report.figure import (
    FigureSpec,
    FigureWithCaption,
    assign_method_styles,
    select_full_teacher_students,
)
from kdpipe.stats.intervals import summarize_columns


def plot_loss_curves(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw the curves of one student and its largest teacher."""
    full_students = select_full_teacher_students(frame)
    eskd = filter_rows(full_students, method_kind="eskd")
    if curves.empty or eskd.empty:
        return None
    student = eskd.student.iloc[0]
    teacher = filter_rows(eskd, student=student).sort_values("teacher_rank").teacher.iloc[-1]
    rows = filter_rows(full_students, student=student, teacher=teacher)
    rows = filter_rows(
        rows, method=[find_main_method(frame, "kd"), find_main_method(frame, "eskd")]
    )
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


FIGURE = FigureSpec("Full KD and KD stopped early, epoch by epoch", 40, plot_loss_curves)
