"""Figures of the student's error: against the teacher's epochs, temperature, and cost.

One panel for each student, one legend for all of them, the student on labels alone as a band.
"""

import numpy as np
import pandas as pd
from matplotlib.ticker import NullFormatter

from kdpipe import style
from kdpipe.cells import by_seed, direct, groups, networks, where, wide
from kdpipe.evidence import method_of
from kdpipe.formats import rounded
from kdpipe.statistics import summary

ERROR = "top-1 error on test, %"
SIZE = "multiply-adds of the teacher"
MOST = 6  # panels, and lines in one


def full(frame: pd.DataFrame) -> pd.DataFrame:
    return where(networks(direct(frame)), stop_kind="full")


def students_of(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(key["student"], part) for key, part in groups(rows, "student")][:MOST]


def numbers(students: list[tuple[str, pd.DataFrame]], column: str) -> dict[str, int]:
    """A number for each name, the same in every panel: one legend serves them all."""
    names = dict.fromkeys(name for _, part in students for name in part[column])
    return {name: i for i, name in enumerate(names)}


def early_stopped(frame: pd.DataFrame, curves: pd.DataFrame):
    """Student error against the epochs its teacher was trained for, both kinds of stopping."""
    rows = networks(direct(frame))
    rows = where(rows, method=method_of(frame, "kd"))
    stopped = rows[rows.stop_kind != "full"]
    students = students_of(
        rows[rows.teacher.isin(stopped.teacher) & rows.student.isin(stopped.student)]
    )
    if stopped.empty or not students:
        return None
    figure, axes = style.panels(len(students))
    teachers = numbers(students, "teacher")
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
    )


def checkpoints(frame: pd.DataFrame, curves: pd.DataFrame):
    """Heat map: teacher checkpoints by students, as the difference to scratch."""
    import seaborn

    rows = networks(direct(frame))
    rows = where(rows, method=method_of(frame, "kd")).sort_values(
        ["teacher_rank", "teacher", "stop_epochs"], kind="stable"
    )
    if rows.drop_duplicates(["teacher", "stop"]).shape[0] < 3 or (rows.stop_kind == "full").all():
        return None
    errors = wide(rows, "teacher", "stop", "student")
    alone = wide(where(frame, kind="scratch"), "student")
    order = list(dict.fromkeys(f"{t}, {s}" for t, s, _ in errors))[:60]
    grid = pd.DataFrame(index=order, columns=list(dict.fromkeys(rows.student)), dtype=float)
    words = grid.astype(object).fillna("")
    for t, s, student in errors:
        found = summary((errors[t, s, student] - alone[student]) if student in alone else [])
        if f"{t}, {s}" in order and found.n:
            grid.loc[f"{t}, {s}", student] = found.mean
            words.loc[f"{t}, {s}", student] = rounded(found.mean, found.half_width, sign="+")
    figure, (axis,) = style.panels(1, height=max(2.2, 0.28 * len(grid) + 1))
    seaborn.heatmap(
        grid, ax=axis, annot=words, fmt="", cmap="cividis", linewidths=1,
        cbar_kws={"label": "difference to scratch, points"}, annot_kws={"fontsize": 8},
    )  # fmt: skip
    axis.set(xlabel="student", ylabel="")
    axis.grid(False)
    axis.tick_params(axis="y", rotation=0)
    return figure, (
        "Error after KD minus that of scratch, in points, with half of its interval; negative "
        "(dark) is better."
    )


def temperature(frame: pd.DataFrame, curves: pd.DataFrame):
    """Student error against the temperature of full KD."""
    rows = where(full(frame), method_kind="kd")
    sweeps = rows.groupby(["student", "teacher"]).temperature.transform("nunique") > 1
    students = students_of(rows[sweeps])
    teachers = numbers(students, "teacher")
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


def cost(frame: pd.DataFrame, curves: pd.DataFrame):
    """Accuracy against cost, with the front of what nothing cheaper beats."""
    kinds = {"scratch": "scratch", "scratch_long": "scratch, longer", "student": "distilled"}
    kinds |= {"teacher": "teacher", "ensemble": "ensemble"}
    points = []
    keys = ("kind", "student", "teacher", "stop", "via", "generation", "method", "ensemble")
    for key, cell in groups(frame, *keys):
        row, errors = cell.iloc[0], by_seed(cell)
        if len(errors):
            trained = np.nansum([row.train_macs, row.teacher_macs, row.ancestor_macs])
            if key["kind"] == "teacher":  # a checkpoint is a part of its run
                trained *= min(1.0, row.stop_epochs / row.epochs)
            points.append((key["kind"], row.multiply_adds, trained, summary(100 - errors)))
    table = pd.DataFrame(points, columns=["kind", "use", "training", "summary"])
    if len(table) < 3:
        return None
    table["accuracy"] = [s.mean for s in table.summary]
    figure, axes = style.panels(2)
    labels = {
        "use": "multiply-adds for one image",
        "training": "multiply-adds to train, with teacher",
    }
    for axis, (column, label) in zip(axes, labels.items(), strict=True):
        shown = table[table[column] > 0]
        for i, (kind, name) in enumerate(kinds.items()):
            part = shown[shown.kind == kind]
            exact = [summary([place]) for place in part[column]]
            points = list(zip(exact, part.summary, strict=True))
            if points:
                style.cloud(axis, points, name, **style.look(i))
        front = shown.sort_values([column, "accuracy"], ascending=[True, False])
        front = front[front.accuracy > front.accuracy.shift(fill_value=-1).cummax()]
        axis.step(front[column], front.accuracy, where="post", color="#555555", linewidth=1)
        axis.set(xscale="log", xlabel=label, ylabel="accuracy on test, %")
        axis.xaxis.set_minor_formatter(NullFormatter())
    style.legend(figure, axes)
    return figure, "Each point is the mean of a cell; the line joins what nothing cheaper beats."
