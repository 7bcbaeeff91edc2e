"""Student error against the temperature of full KD."""

import pandas as pd

from kdpipe.evidence.selections import by_seed, groups, where
from kdpipe.report import style
from kdpipe.report.figure import ERROR, Drawn, Figure, full, numbered, students_of


def temperature(frame: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
    rows = where(full(frame), method_kind="kd")
    sweeps = rows.groupby(["student", "teacher"]).temperature.transform("nunique") > 1
    students = students_of(rows.loc[sweeps])
    teachers = numbered(students, "teacher")
    if not students:
        return None
    figure, axes = style.panels(len(students))
    for axis, (student, part) in zip(axes, students, strict=True):
        style.within(axis, by_seed(where(frame, kind="scratch", student=student)), "scratch")
        for key, cells in groups(part, "teacher"):
            i = teachers[key["teacher"]]
            beside = style.aside(i, len(teachers))
            points = [
                (at["temperature"] * beside, by_seed(cell.drop_duplicates("seed")))
                for at, cell in groups(cells.sort_values("temperature"), "temperature")
            ]
            style.bars(axis, points, key["teacher"], **style.look(i))
        values = sorted(part.temperature.unique())
        axis.set(title=student, xscale="log", xlabel="temperature", ylabel=ERROR)
        style.name_ticks(axis, values, [f"{value:g}" for value in values], turn=False)
    style.legend(figure, axes)
    return figure, "Full KD from fully trained teachers at several temperatures."


FIGURE = Figure("Temperature", 80, temperature)
