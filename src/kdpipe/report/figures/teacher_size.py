"""Figure 2 of the paper: student error against the size of its fully trained teacher.

Two panels for each student, as in the paper: teachers of one width and rising depth, and of one
depth and rising width. What depth and width are is known of wide residual networks, by name;
teachers that share neither with another one, and those of other families, stand in a third panel
by their parameters.
"""

import math
import re

import pandas as pd
from matplotlib.axes import Axes

from kdpipe.evidence.selections import by_seed, direct, groups, networks, where
from kdpipe.learning.method import heading, is_kd
from kdpipe.report import style
from kdpipe.report.figure import ERROR, Drawn, Figure

WRN = re.compile(r"wrn(\d+)-(\d*\.?\d+)")
MOST = 4  # students
DEPTH, WIDTH, SIZE = "depth", "width", "parameters"


def teacher_size(frame: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
    """Fig. 2: for each student panels by depth, width and parameters, those that it has."""
    taught = where(networks(direct(frame)), stop_kind="full")
    students = [(key["student"], part) for key, part in groups(taught, "student")]
    students = [(s, _placed(part)) for s, part in students if part.teacher.nunique() > 1][:MOST]
    if not students:
        return None
    panels = [
        (student, part.loc[part[kind].notna()], kind)
        for student, part in students
        for kind in (DEPTH, WIDTH, SIZE)
    ]
    panels = [panel for panel in panels if len(panel[1])]
    each = len(panels) / len(students)  # a row for each student, where all have the same panels
    labels = {m: i for i, m in enumerate(dict.fromkeys(m for _, p in students for m in p.label))}
    figure, axes = style.panels(len(panels), across=int(each) if each in (1, 2, 3) else None)
    for axis, (student, shown, kind) in zip(axes, panels, strict=True):
        style.within(axis, by_seed(where(frame, kind="scratch", student=student)), "scratch")
        _panel(axis, shown, kind, labels)
        axis.set_title(student)
    style.legend(figure, axes)
    return figure, (
        "Students of fully trained teachers: of rising depth at one width, of rising width at one "
        "depth, and the others by their parameters; a panel stands where there are any."
    )


def _placed(part: pd.DataFrame) -> pd.DataFrame:
    """With depth, width or parameters of the teacher where it stands in such a panel, else nan.

    `deep` and `wide` are the depth and width themselves; a teacher may stand in both panels.
    """
    names = part.drop_duplicates("teacher_label").teacher_label
    shapes = {name: WRN.fullmatch(name) for name in names}
    deep = {name: int(shape[1]) for name, shape in shapes.items() if shape}
    wide = {name: float(shape[2]) for name, shape in shapes.items() if shape}
    counts = {
        DEPTH: pd.Series(wide, dtype=float).value_counts(),
        WIDTH: pd.Series(deep, dtype=float).value_counts(),
    }
    in_depth = [name for name in wide if counts[DEPTH][wide[name]] > 1]
    in_width = [name for name in deep if counts[WIDTH][deep[name]] > 1]
    found = part.assign(
        deep=part.teacher_label.map(deep).astype(float),
        wide=part.teacher_label.map(wide).astype(float),
        label=[_label(*pair) for pair in zip(part.method, part.method_kind, strict=True)],
    )
    found[DEPTH] = found.deep.where(found.teacher_label.isin(in_depth))
    found[WIDTH] = found.wide.where(found.teacher_label.isin(in_width))
    alone = ~found.teacher_label.isin([*in_depth, *in_width])
    found[SIZE] = found.teacher_parameters.where(alone)
    return found


def _label(method: str, kind: str) -> str:
    return method if is_kd(kind) else f"{method} ({heading(kind)})"


def _panel(axis: Axes, shown: pd.DataFrame, kind: str, labels: dict[str, int]) -> None:
    """One line for each method, and for each width (or depth) that is held."""
    held = {DEPTH: "wide", WIDTH: "deep"}.get(kind)
    fixed = sorted(set(shown[held])) if held else [None]
    form = {DEPTH: "wrnK-{:g}", WIDTH: "wrn{:g}-K"}.get(kind, "")
    lines = [(label, value) for value in fixed for label in labels if label in set(shown.label)]
    reach = math.log(shown[kind].max() / shown[kind].min(), 8)  # 1 as in the paper's panels
    for i, (label, value) in enumerate(lines):
        rows = shown.loc[(shown.label == label) & ((shown[held] == value) if held else True)]
        beside = style.aside(i, len(lines)) ** min(1.0, max(0.2, reach))
        points = [
            (at[kind] * beside, by_seed(cell))
            for at, cell in groups(rows.sort_values(kind), kind, "teacher")
        ]
        name = label if len(fixed) == 1 else f"{label}, {form.format(value)}"
        looks = style.look(labels[label])
        looks["linestyle"] = style.LINES[(labels[label] + fixed.index(value)) % len(style.LINES)]
        if held and fixed.index(value):
            looks["fillstyle"] = "none"
        style.bars(axis, points, name, **looks)
    what = "parameters of the teacher"
    if held:
        known = f"K of {form.format(fixed[0])}" if len(fixed) == 1 else "K"
        what = f"{kind} of the teacher, {known}"
    axis.set(xscale="log", xlabel=what, ylabel=ERROR)
    ticks = shown.drop_duplicates("teacher").sort_values(kind)
    if held:
        values = sorted(set(ticks[kind]))
        style.name_ticks(axis, values, [f"{value:g}" for value in values], turn=False)
    else:
        style.name_ticks(axis, ticks[kind], ticks.teacher)


FIGURE = Figure("Student error against the size of the teacher", 10, teacher_size)
