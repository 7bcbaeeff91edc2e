"""Student error against the size of its fully trained teacher (Figure 2 of the paper).

Each student has two panels, as in the paper: teachers of one width and rising depth, and of one
depth and rising width. Depth and width are known for wide residual networks, from their names.
Teachers that share neither with another one, and those of other families, stand in a third panel by
their parameters.
"""

import math
import re

import pandas as pd
from matplotlib.axes import Axes

from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.analysis.selection import find_main_method
from kdpipe.losses.method import is_plain_kd, short_label
from kdpipe.report import style
from kdpipe.report.figure import (
    ERROR_LABEL,
    FigureSpec,
    FigureWithCaption,
    assign_method_styles,
    describe_best,
)

WRN = re.compile(r"wrn(\d+)-(\d*\.?\d+)")
MAX_STUDENTS = 4  # students
DEPTH, WIDTH, SIZE = "depth", "width", "parameters"
TIE_STEP = 1.3  # by how much teachers of one size are drawn apart


def plot_teacher_size(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw for each student the panels by depth, width and parameters that it has."""
    rows = filter_rows(
        select_label_trained_teachers(select_direct_students(frame)), stop_kind="full"
    )
    students = [(key["student"], part) for key, part in group_rows(rows, "student")]
    students = [(s, _assign_panels(part)) for s, part in students if part.teacher.nunique() > 1][
        :MAX_STUDENTS
    ]
    if not students:
        return None
    panels = [
        (student, part.loc[part[kind].notna()], kind)
        for student, part in students
        for kind in (DEPTH, WIDTH, SIZE)
    ]
    panels = [panel for panel in panels if len(panel[1])]
    panels_per_student = len(panels) / len(
        students
    )  # a row for each student, where all have the same panels
    methods = assign_method_styles(frame)
    labels = {
        label: methods[method]
        for _, part in students
        for label, method in zip(part.label, part.method, strict=True)
    }
    is_tied = any(kind == SIZE and _has_ties(part, SIZE) for _, part, kind in panels)
    figure, axes = style.make_panels(
        len(panels), across=int(panels_per_student) if panels_per_student in (1, 2, 3) else None
    )
    for axis, (student, panel_rows, kind) in zip(axes, panels, strict=True):
        style.plot_band(
            axis, get_series_by_seed(filter_rows(frame, kind="scratch", student=student)), "scratch"
        )
        _plot_panel(axis, panel_rows, kind, labels)
        axis.set_title(student)
    style.add_legend(figure, axes)
    return figure, (
        "Students of fully trained teachers: of rising depth at one width, of rising width at one "
        "depth, and the others by their parameters; a panel stands where there are any."
        + " Teachers of one size stand side by side."
        * is_tied
    )


def _assign_panels(part: pd.DataFrame) -> pd.DataFrame:
    """Add depth, width or parameters of the teacher where it stands in such a panel, else NaN.

    `deep` and `wide` are depth and width themselves; a teacher may stand in both panels.
    """
    names = part.drop_duplicates("teacher_label").teacher_label
    shapes = {name: WRN.fullmatch(name) for name in names}
    depths = {name: int(shape[1]) for name, shape in shapes.items() if shape}
    widths = {name: float(shape[2]) for name, shape in shapes.items() if shape}
    counts = {
        DEPTH: pd.Series(widths, dtype=float).value_counts(),
        WIDTH: pd.Series(depths, dtype=float).value_counts(),
    }
    in_depth = [name for name in widths if counts[DEPTH][widths[name]] > 1]
    in_width = [name for name in depths if counts[WIDTH][depths[name]] > 1]
    panel_rows = part.assign(
        deep=part.teacher_label.map(depths).astype(float),
        wide=part.teacher_label.map(widths).astype(float),
        label=[_format_label(*pair) for pair in zip(part.method, part.method_kind, strict=True)],
    )
    panel_rows[DEPTH] = panel_rows.deep.where(panel_rows.teacher_label.isin(in_depth))
    panel_rows[WIDTH] = panel_rows.wide.where(panel_rows.teacher_label.isin(in_width))
    is_unplaced = ~panel_rows.teacher_label.isin([*in_depth, *in_width])
    panel_rows[SIZE] = panel_rows.teacher_parameters.where(is_unplaced)
    return panel_rows


def _has_ties(panel_rows: pd.DataFrame, kind: str) -> bool:
    """Return whether two teachers have the same place in a panel."""
    return not panel_rows.drop_duplicates("teacher")[kind].is_unique


def _spread_ties(panel_rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a panel by parameters with teachers of one size side by side."""
    teachers = panel_rows.drop_duplicates("teacher").sort_values("teacher")
    places = teachers.groupby(SIZE).teacher.transform("cumcount")
    counts = teachers.groupby(SIZE).teacher.transform("count")
    sizes = teachers[SIZE] * TIE_STEP ** (places - (counts - 1) / 2)
    by_teacher = dict(zip(teachers.teacher, sizes, strict=True))
    return panel_rows.assign(**{SIZE: panel_rows.teacher.map(by_teacher)})


def _format_label(method: str, kind: str) -> str:
    """Return the label of a method, with its kind unless it is plain KD."""
    return method if is_plain_kd(kind) else f"{method} ({short_label(kind)})"


def _plot_panel(axis: Axes, panel_rows: pd.DataFrame, kind: str, labels: dict[str, dict]) -> None:
    """Plot one line for each method, and for each width (or depth) that is fixed."""
    fixed_column = {DEPTH: "wide", WIDTH: "deep"}.get(kind)
    fixed = sorted(set(panel_rows[fixed_column])) if fixed_column else [None]
    form = {DEPTH: "wrnK-{:g}", WIDTH: "wrn{:g}-K"}.get(kind, "")
    is_tied = kind == SIZE and _has_ties(panel_rows, kind)
    if is_tied:
        panel_rows = _spread_ties(panel_rows)
    lines = [
        (label, value) for value in fixed for label in labels if label in set(panel_rows.label)
    ]
    reach = math.log(
        panel_rows[kind].max() / panel_rows[kind].min(), 8
    )  # 1 as in the paper's panels
    for i, (label, value) in enumerate(lines):
        rows = panel_rows.loc[
            (panel_rows.label == label)
            & ((panel_rows[fixed_column] == value) if fixed_column else True)
        ]
        offset = style.dodge(i, len(lines)) ** min(1.0, max(0.2, reach))
        points = [
            (group_key[kind] * offset, get_series_by_seed(cell))
            for group_key, cell in group_rows(rows.sort_values(kind), kind, "teacher")
        ]
        name = label if len(fixed) == 1 else f"{label}, {form.format(value)}"
        style_args = dict(labels[label])
        first_line = style.LINE_STYLES.index(style_args["linestyle"])
        style_args["linestyle"] = style.LINE_STYLES[
            (first_line + fixed.index(value)) % len(style.LINE_STYLES)
        ]
        if fixed_column and fixed.index(value):
            style_args["fillstyle"] = "none"
        if is_tied:  # a line would rise or fall without a difference in size
            style_args["linestyle"] = ""
        style.plot_errorbars(axis, points, name, **style_args)
    x_label = "parameters of the teacher"
    if fixed_column:
        symbol = f"K of {form.format(fixed[0])}" if len(fixed) == 1 else "K"
        x_label = f"{kind} of the teacher, {symbol}"
    axis.set(xscale="log", xlabel=x_label, ylabel=ERROR_LABEL)
    ticks = panel_rows.drop_duplicates("teacher").sort_values(kind)
    if fixed_column:
        values = sorted(set(ticks[kind]))
        style.set_tick_names(axis, values, [f"{value:g}" for value in values], rotate=False)
    else:
        style.set_tick_names(axis, ticks[kind], ticks.teacher)


def find_best_teacher(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return which fully trained teacher is best for each student, under the main KD."""
    rows = select_label_trained_teachers(select_direct_students(frame))
    rows = filter_rows(rows, stop_kind="full", method=find_main_method(frame, "kd"))
    texts = []
    for key, part in list(group_rows(rows, "student"))[:MAX_STUDENTS]:
        errors = {k["teacher"]: get_series_by_seed(c) for k, c in group_rows(part, "teacher")}
        if text := describe_best(errors, "teacher"):
            texts.append(f"for {key['student']} {text}")
    return "; ".join(texts)


FIGURE = FigureSpec(
    "Student error against the size of the teacher",
    10,
    plot_teacher_size,
    find=find_best_teacher,
)
