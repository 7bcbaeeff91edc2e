"""Entropy and confidence of teachers: against size, and along their training."""

import pandas as pd

from kdpipe.evidence.selections import by_seed, groups, networks, where
from kdpipe.report import style
from kdpipe.report.figure import MOST, SIZE, Drawn, Figure


def confidence(frame: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
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


FIGURE = Figure("Confidence of the teachers", 70, confidence)
