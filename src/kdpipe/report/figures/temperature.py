"""Student error against the temperature of full KD."""

import pandas as pd

from kdpipe.analysis.dataframe import filter_rows, get_series_by_seed, group_rows
from kdpipe.report import style
from kdpipe.report.figure import (
    ERROR_LABEL,
    FigureSpec,
    FigureWithCaption,
    assign_teacher_styles,
    describe_best,
    group_by_student,
    select_full_teacher_students,
)


def plot_temperature(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw a panel for each student of methods that differ in temperature."""
    students = _select_students(frame)
    teachers = assign_teacher_styles(frame)
    if not students:
        return None
    figure, axes = style.make_panels(len(students))
    for axis, (student, part) in zip(axes, students, strict=True):
        style.plot_band(
            axis, get_series_by_seed(filter_rows(frame, kind="scratch", student=student)), "scratch"
        )
        for key, cells in group_rows(part, "teacher"):
            offset = style.dodge(list(teachers).index(key["teacher"]), len(teachers))
            points = [
                (
                    group_key["temperature"] * offset,
                    get_series_by_seed(cell.drop_duplicates("seed")),
                )
                for group_key, cell in group_rows(cells.sort_values("temperature"), "temperature")
            ]
            style.plot_errorbars(axis, points, key["teacher"], **teachers[key["teacher"]])
        values = sorted(part.temperature.unique())
        axis.set(title=student, xscale="log", xlabel="temperature", ylabel=ERROR_LABEL)
        style.set_tick_names(axis, values, [f"{value:g}" for value in values], rotate=False)
    style.add_legend(figure, axes)
    return figure, "Full KD from fully trained teachers at several temperatures."


def _select_students(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the students of a teacher at several temperatures, with these rows."""
    rows = filter_rows(select_full_teacher_students(frame), method_kind="kd")
    sweeps = rows.groupby(["student", "teacher"]).temperature.transform("nunique") > 1
    return group_by_student(rows.loc[sweeps])


def find_best_temperature(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return of each student and teacher which temperature is best, if that can be told."""
    texts = []
    for student, part in _select_students(frame):
        for key, cells in group_rows(part, "teacher"):
            errors = {
                f"T {k['temperature']:g}": get_series_by_seed(cell.drop_duplicates("seed"))
                for k, cell in group_rows(cells, "temperature")
            }
            if text := describe_best(errors, "temperature"):
                texts.append(f"for {student} from {key['teacher']} {text}")
    return "; ".join(texts)


FIGURE = FigureSpec("Temperature", 80, plot_temperature, find=find_best_temperature)
