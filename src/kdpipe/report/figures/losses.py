"""CE against KD loss on train, one point for each cell."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    get_series_by_seed,
    group_rows,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.report import style
from kdpipe.report.figure import (
    FigureSpec,
    FigureWithCaption,
    assign_color_indices,
    group_by_student,
)
from kdpipe.stats.intervals import summarize


def plot_losses(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw a panel for each student with more than two cells."""
    rows = select_label_trained_teachers(select_direct_students(frame))
    rows = rows.loc[rows.train_kl.notna()]
    cell_of = ["teacher", "stop", "method"]
    methods = assign_color_indices(group_by_student(rows), "method")
    students = [(s, p) for s, p in group_by_student(rows) if len(p.drop_duplicates(cell_of)) > 2]
    if not students:
        return None
    figure, axes = style.make_panels(len(students))
    for axis, (student, part) in zip(axes, students, strict=True):
        for key, cells in group_rows(part, "method"):
            i = methods[key["method"]]
            points = [
                (
                    summarize(get_series_by_seed(c, "train_kl")),
                    summarize(get_series_by_seed(c, "train_nll")),
                )
                for _, c in group_rows(cells, "teacher", "stop")
            ]
            style.plot_scatter_ci(axis, points, key["method"], **style.get_series_style(i))
        axis.set(title=student, xlabel="KD loss on train, nat", ylabel="CE on train, nat")
    style.add_legend(figure, axes)
    return figure, "Each point is the mean of a cell (teacher, stop, method); lower left is best."


FIGURE = FigureSpec("Cross-entropy against the KD loss", 60, plot_losses)
