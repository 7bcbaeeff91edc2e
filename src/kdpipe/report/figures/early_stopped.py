"""Student error against the epochs of its teacher, for both kinds of early stopping."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    UNTRAINED_STOP,
    drop_longer_teachers,
    filter_rows,
    get_series_by_seed,
    group_rows,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.analysis.selection import find_main_method
from kdpipe.report import style
from kdpipe.report.figure import (
    ERROR_LABEL,
    FigureSpec,
    FigureWithCaption,
    assign_teacher_styles,
    count_marks,
    group_by_student,
)


def plot_early_stopped(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw a panel for each student of early-stopped teachers."""
    rows = _select_rows(frame)
    control = (rows.stop == UNTRAINED_STOP).any()  # so far out that nothing else would be seen
    rows = rows.loc[rows.stop != UNTRAINED_STOP]
    early_rows = rows.loc[rows.stop_kind != "full"]
    students = group_by_student(
        rows.loc[rows.teacher.isin(early_rows.teacher) & rows.student.isin(early_rows.student)]
    )
    if early_rows.empty or not students:
        return None
    figure, axes = style.make_panels(len(students))
    teachers = assign_teacher_styles(frame)
    kinds = [("schedule", "-", "full"), ("checkpoint", "--", "none")]
    for axis, (student, part) in zip(axes, students, strict=True):
        style.plot_band(
            axis, get_series_by_seed(filter_rows(frame, kind="scratch", student=student)), "scratch"
        )
        for key, cells in group_rows(part, "teacher"):
            for kind, line, fill in kinds:
                if not (cells.stop_kind == kind).any():
                    continue
                lengths = filter_rows(cells, stop_kind=[kind, "full"]).sort_values("stop_epochs")
                offset = style.dodge(list(teachers).index(key["teacher"]), 4, log=False)
                points = [
                    (k["stop_epochs"] + offset, get_series_by_seed(c))
                    for k, c in group_rows(lengths, "stop_epochs")
                ]
                style_args = teachers[key["teacher"]] | {"linestyle": line, "fillstyle": fill}
                style.plot_errorbars(axis, points, f"{key['teacher']}, {kind}", **style_args)
        axis.set(title=student, xlabel="epochs of the teacher", ylabel=ERROR_LABEL)
    style.add_legend(figure, axes)
    return figure, (
        "KD from teachers trained for fewer epochs: by a schedule of their own (filled, solid) or "
        "cut out of the full training (open, dashed); the last point is the full teacher."
        + (" An untrained teacher, a control, stands in the map of checkpoints." if control else "")
    )


def _select_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the students of teachers that learned from labels, by the main KD."""
    rows = drop_longer_teachers(select_label_trained_teachers(select_direct_students(frame)))
    return filter_rows(rows, method=find_main_method(frame, "kd"))


def find_better_stops(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return at how many stops a teacher is better and worse than when fully trained.

    All differences to the full teacher hold jointly; untrained teachers do not count.
    """
    rows = _select_rows(frame)
    differences = []
    for _, cells in group_rows(rows.loc[rows.stop != UNTRAINED_STOP], "student", "teacher"):
        errors = {
            key["stop"]: get_series_by_seed(cell).astype(float)
            for key, cell in group_rows(cells, "stop")
        }
        full = errors.pop("full", None)
        if full is not None:
            differences += [values - full for values in errors.values()]
    if not differences:
        return ""
    better, worse = count_marks(differences)
    count = len(differences)
    if not better and not worse:
        return f"no stop of {count} can be told from the full teacher"
    return f"better than the full teacher at {better}, worse at {worse} of {count} stops"


FIGURE = FigureSpec(
    "Student error against the epochs of the teacher",
    20,
    plot_early_stopped,
    find=find_better_stops,
)
