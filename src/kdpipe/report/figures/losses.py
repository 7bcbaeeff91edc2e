"""CE against KD loss on train, one point for each cell."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from kdpipe.analysis.dataframe import (
    get_series_by_seed,
    group_rows,
    pivot_by_seed,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.analysis.teacher_quality import MIN_CELLS
from kdpipe.report import style
from kdpipe.report.figure import (
    FigureSpec,
    FigureWithCaption,
    assign_method_styles,
    describe_order,
    group_by_student,
)
from kdpipe.stats.intervals import summarize
from kdpipe.stats.ranks import correlate_ranks_within

CELL = ["teacher", "stop", "method"]
MAX_METHODS = 8  # with a color of their own
OTHERS_STYLE: dict = {"color": "#bbbbbb", "marker": ".", "zorder": 1}


def plot_losses(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw a panel for each student with more than two cells."""
    rows = _select_rows(frame)
    methods = assign_method_styles(frame)
    students = _select_students(rows)
    if not students:
        return None
    figure, axes = style.make_panels(len(students))
    shown = _select_methods(rows)
    rest = rows.loc[~rows.method.isin(shown)].method.nunique()
    for axis, (student, part) in zip(axes, students, strict=True):
        ordered = sorted(
            group_rows(part, "method"), key=lambda item: item[0]["method"] not in shown
        )
        for key, cells in ordered:
            points = [
                (
                    summarize(get_series_by_seed(c, "train_kl")),
                    summarize(get_series_by_seed(c, "train_nll")),
                )
                for _, c in group_rows(cells, "teacher", "stop")
            ]
            name = key["method"]
            label = name if name in shown else f"{rest} others"
            look = methods[name] if name in shown else OTHERS_STYLE
            style.plot_scatter_ci(axis, points, label, **look)
        axis.set(title=student, xlabel="KD loss on train, nat", ylabel="CE on train, nat")
        for direction in ("x", "y"):
            _widen(axis, part, direction)
    style.add_legend(figure, axes)
    text = "Each point is the mean of a cell (teacher, stop, method); lower left is best."
    if rest:
        text += f" Of {len(shown) + rest} methods those with the lowest CE have a color, and KD."
    return figure, text


def _select_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the students of networks that learned from labels, with a known KD loss."""
    rows = select_label_trained_teachers(select_direct_students(frame))
    return rows.loc[rows.train_kl.notna()]


def _select_students(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the students of more than two cells, with their rows."""
    return [(s, p) for s, p in group_by_student(rows) if len(p.drop_duplicates(CELL)) > 2]


def find_order(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return of each student with four cells whether they have the same order by both losses."""
    texts = []
    for student, part in _select_students(_select_rows(frame)):
        if len(part.drop_duplicates(CELL)) < MIN_CELLS:
            continue
        ce = pivot_by_seed(part, *CELL, column="train_nll").astype(float)
        kl = pivot_by_seed(part, *CELL, column="train_kl").astype(float)
        is_complete = ce.notna().all(axis=1) & kl.notna().all(axis=1)
        rhos = correlate_ranks_within(ce.loc[is_complete], kl.loc[is_complete])
        order = describe_order(rhos, "CE rises with the KD loss", "CE falls as the KD loss rises")
        texts.append(f"for {student} {order}")
    return "; ".join(texts)


def _select_methods(rows: pd.DataFrame) -> list[str]:
    """Return the methods that have a color of their own: plain KD, and those of the lowest CE."""
    losses = rows.groupby("method").train_nll.mean().sort_values(kind="stable")
    kd = set(rows.loc[rows.method_kind == "kd"].method)
    plain = [name for name in losses.index if name in kd][:1]
    if len(losses) <= MAX_METHODS + 1:  # one more is no crowd
        return list(losses.index)
    return list(dict.fromkeys([*plain, *losses.index]))[:MAX_METHODS]


def _widen(axis: Axes, part: pd.DataFrame, direction: str) -> None:
    """Make an axis logarithmic where most of its cells would stand in a corner."""
    column = "train_kl" if direction == "x" else "train_nll"
    means = part.groupby(["teacher", "stop", "method"])[column].mean()
    if means.max() > style.WIDE_RANGE * means.median() and means.min() > 0:
        axis.set(**{f"{direction}scale": "log"})
        scale = axis.xaxis if direction == "x" else axis.yaxis
        scale.set_major_locator(LogLocator(subs=(1, 2, 5) if direction == "y" else (1,)))
        scale.set_major_formatter(lambda number, _: f"{number:g}")
        scale.set_minor_locator(NullLocator())


FIGURE = FigureSpec("Cross-entropy against the KD loss", 60, plot_losses, find=find_order)
