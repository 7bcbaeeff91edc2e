"""Figures of losses and mimicry: curves, CE against KD loss, KD error, confidence of teachers."""

import pandas as pd

from kdpipe import style
from kdpipe.cells import by_seed, direct, groups, networks, where
from kdpipe.error_figures import MOST, SIZE, full, numbers, students_of
from kdpipe.evidence import method_of
from kdpipe.statistics import summaries, summary


def loss_curves(frame: pd.DataFrame, curves: pd.DataFrame):
    """Full KD against ESKD: CE, KD and validation error by epoch, with the stop marked."""
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
            looks = style.look(i) | {"marker": ""}
            found = summaries(lines_of.to_numpy(float).T)
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


def mimicry(frame: pd.DataFrame, curves: pd.DataFrame):
    """KD error on train and test against the size of the teacher."""
    rows = where(full(frame), method=method_of(frame, "kd"))
    students = [(s, p) for s, p in students_of(rows) if p.teacher.nunique() > 1]
    if not students or rows.test_kd_error.isna().all():
        return None
    figure, axes = style.panels(len(students))
    for axis, (student, part) in zip(axes, students, strict=True):
        for i, split in enumerate(("train", "test")):
            points = [
                (
                    c.teacher_multiply_adds.iloc[0] * style.aside(i, 2),
                    by_seed(c, f"{split}_kd_error"),
                )
                for _, c in groups(part.sort_values("teacher_rank"), "teacher")
            ]
            style.bars(axis, points, split, **style.look(i))
        names = part.drop_duplicates("teacher").sort_values("teacher_rank")
        axis.set(title=student, xscale="log", xlabel=SIZE, ylabel="KD error, %")
        style.name_ticks(axis, names.teacher_multiply_adds, names.teacher)
    style.legend(figure, axes)
    return figure, "Share of images that student and teacher classify differently, full KD."


def losses(frame: pd.DataFrame, curves: pd.DataFrame):
    """CE against KD loss on train, one point for each cell."""
    rows = networks(direct(frame))
    rows = rows[rows.train_kl.notna()]
    cell_of = ["teacher", "stop", "method"]
    methods = numbers(students_of(rows), "method")
    students = [(s, p) for s, p in students_of(rows) if len(p.drop_duplicates(cell_of)) > 2]
    if not students:
        return None
    figure, axes = style.panels(len(students))
    for axis, (student, part) in zip(axes, students, strict=True):
        for key, cells in groups(part, "method"):
            i = methods[key["method"]]
            points = [
                (summary(by_seed(c, "train_kl")), summary(by_seed(c, "train_nll")))
                for _, c in groups(cells, "teacher", "stop")
            ]
            style.cloud(axis, points, key["method"], **style.look(i))
        axis.set(title=student, xlabel="KD loss on train, nat", ylabel="CE on train, nat")
    style.legend(figure, axes)
    return figure, "Each point is the mean of a cell (teacher, stop, method); lower left is best."


def confidence(frame: pd.DataFrame, curves: pd.DataFrame):
    """Entropy and confidence of teachers: against size, and along their training."""
    rows = networks(where(frame, kind="teacher")).sort_values("teacher_rank", kind="stable")
    whole = where(rows, stop_kind="full")
    if whole.teacher.nunique() < 2:
        return None
    along = [
        (key["teacher"], cells)
        for key, cells in groups(where(rows, stop_kind=["full", "checkpoint"]), "teacher")
        if cells.stop_epochs.nunique() > 1
    ][:MOST]
    figure, axes = style.panels(4 if along else 2)
    what = {"entropy": "entropy, nat", "confidence": "mean confidence"}
    for axis, (column, label) in zip(axes, what.items(), strict=False):
        for i, split in enumerate(("train", "test")):
            points = [
                (
                    c.teacher_multiply_adds.iloc[0] * style.aside(i, 2),
                    by_seed(c, f"{split}_{column}"),
                )
                for _, c in groups(whole, "teacher")
            ]
            style.bars(axis, points, split, **style.look(i))
        names = whole.drop_duplicates("teacher")
        axis.set(xscale="log", xlabel=SIZE, ylabel=label)
        style.name_ticks(axis, names.teacher_multiply_adds, names.teacher)
    style.legend(figure, axes[:2])
    for axis, (column, label) in zip(axes[2:], what.items(), strict=False):
        for i, (teacher, cells) in enumerate(along):
            lengths = cells.sort_values("stop_epochs")
            points = [
                (k["stop_epochs"], by_seed(c, f"test_{column}"))
                for k, c in groups(lengths, "stop_epochs")
            ]
            style.bars(axis, points, teacher, **style.look(i))
        axis.set(xlabel="epochs of the teacher", ylabel=f"{label}, test")
    if along:
        axes[2].legend()
    return figure, "Of the teachers' own softmax at T = 1: fully trained, and along checkpoints."
