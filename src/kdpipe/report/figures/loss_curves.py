"""Full KD against ESKD: CE, KD and validation error by epoch, with the stop marked."""

from typing import Any

import pandas as pd

from kdpipe.evidence.choices import method_of
from kdpipe.evidence.selections import groups, where
from kdpipe.report import style
from kdpipe.report.figure import Drawn, Figure, full
from kdpipe.statistics.intervals import summaries


def loss_curves(frame: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
    taught = full(frame)
    stopped = where(taught, method_kind="eskd")
    if curves.empty or stopped.empty:
        return None
    student = stopped.student.iloc[0]
    teacher = where(stopped, student=student).sort_values("teacher_rank").teacher.iloc[-1]
    rows = where(taught, student=student, teacher=teacher)
    rows = where(rows, method=[method_of(frame, "kd"), method_of(frame, "eskd")])
    parts = {"train_ce": "CE, train, nat", "train_kd": "KD loss, train, nat"}
    parts["val_error"] = "validation error, %"
    figure, axes = style.panels(3, width=2.9)
    lines = {"scratch": where(frame, kind="scratch", student=student)}
    lines |= {key["method"]: cell for key, cell in groups(rows, "method")}
    for axis, (column, label) in zip(axes, parts.items(), strict=True):
        axis.set(xlabel="epoch", ylabel=label)
        for i, (name, cell) in enumerate(lines.items()):
            if column not in curves or not curves.run.isin(cell.run).any():
                continue
            lines_of = curves[curves.run.isin(cell.run)].pivot(
                index="epoch", columns="run", values=column
            )
            lines_of = lines_of.dropna(how="all")
            looks: dict[str, Any] = style.look(i) | {"marker": ""}
            seeds = cell.drop_duplicates("run").set_index("run").seed[lines_of.columns]
            found = summaries(lines_of.to_numpy(float).T, of=seeds.to_numpy(float))
            axis.plot(lines_of.index, [s.mean for s in found], label=name, **looks)
            band = {"alpha": 0.15, "color": looks["color"], "linewidth": 0}
            ends = [s.low for s in found], [s.high for s in found]
            axis.fill_between(lines_of.index, *ends, **band)
        for epoch in where(rows, method_kind="eskd").kd_epochs.unique():
            axis.axvline(epoch, color="#000000", linewidth=1, linestyle=(0, (4, 2)))
    style.legend(figure, axes)
    return figure, (
        f"{student} taught by {teacher}; the dashed line marks where ESKD drops the KD term. Train "
        "values are running means with augmentation."
    )


FIGURE = Figure("Full KD and KD stopped early, epoch by epoch", 40, loss_curves)
