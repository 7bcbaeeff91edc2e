"""Student error against the epochs its teacher was trained for, both kinds of stopping."""

import pandas as pd

from kdpipe.evidence.choices import method_of
from kdpipe.evidence.selections import UNTRAINED, by_seed, direct, groups, networks, where
from kdpipe.report import style
from kdpipe.report.figure import ERROR, Drawn, Figure, numbered, students_of


def early_stopped(frame: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
    rows = networks(direct(frame))
    rows = where(rows, method=method_of(frame, "kd"))
    control = (rows.stop == UNTRAINED).any()  # so far out that nothing else would be seen
    rows = rows.loc[rows.stop != UNTRAINED]
    stopped = rows.loc[rows.stop_kind != "full"]
    students = students_of(
        rows.loc[rows.teacher.isin(stopped.teacher) & rows.student.isin(stopped.student)]
    )
    if stopped.empty or not students:
        return None
    figure, axes = style.panels(len(students))
    teachers = numbered(students, "teacher")
    kinds = [("schedule", "-", "full"), ("checkpoint", "--", "none")]
    for axis, (student, part) in zip(axes, students, strict=True):
        style.within(axis, by_seed(where(frame, kind="scratch", student=student)), "scratch")
        for key, cells in groups(part, "teacher"):
            i = teachers[key["teacher"]]
            for kind, line, fill in kinds:
                if not (cells.stop_kind == kind).any():
                    continue
                lengths = where(cells, stop_kind=[kind, "full"]).sort_values("stop_epochs")
                beside = style.aside(i, 4, log=False)
                points = [
                    (k["stop_epochs"] + beside, by_seed(c))
                    for k, c in groups(lengths, "stop_epochs")
                ]
                looks = style.look(i) | {"linestyle": line, "fillstyle": fill}
                style.bars(axis, points, f"{key['teacher']}, {kind}", **looks)
        axis.set(title=student, xlabel="epochs of the teacher", ylabel=ERROR)
    style.legend(figure, axes)
    return figure, (
        "KD from teachers trained for fewer epochs: by a schedule of their own (filled, solid) or "
        "cut out of the full training (open, dashed); the last point is the full teacher."
        + (" An untrained teacher, a control, stands in the map of checkpoints." if control else "")
    )


FIGURE = Figure("Student error against the epochs of the teacher", 20, early_stopped)
