"""KD error on train and test against the size of the teacher."""

import pandas as pd

from kdpipe.evidence.choices import method_of
from kdpipe.evidence.selections import by_seed, groups, where
from kdpipe.report import style
from kdpipe.report.figure import SIZE, Drawn, Figure, full, students_of


def mimicry(frame: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
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


FIGURE = Figure("How far students stay from their teachers", 50, mimicry)
