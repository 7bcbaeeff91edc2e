"""Heat map of teacher checkpoints by students, as the difference to scratch."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    UNTRAINED_STOP,
    drop_longer_teachers,
    filter_rows,
    pivot_by_seed,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.analysis.selection import find_main_method
from kdpipe.report import style
from kdpipe.report.figure import FigureSpec, FigureWithCaption
from kdpipe.report.format import format_estimate
from kdpipe.stats.intervals import summarize


def plot_checkpoints(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw the map, where a study has several checkpoints."""
    import seaborn

    rows = drop_longer_teachers(select_label_trained_teachers(select_direct_students(frame)))
    rows = filter_rows(rows, method=find_main_method(frame, "kd")).sort_values(
        ["teacher_rank", "teacher", "stop_epochs"], kind="stable"
    )
    if rows.drop_duplicates(["teacher", "stop"]).shape[0] < 3 or (rows.stop_kind == "full").all():
        return None
    errors = pivot_by_seed(rows, "teacher", "stop", "student")
    scratch = pivot_by_seed(filter_rows(frame, kind="scratch"), "student")
    order = list(dict.fromkeys(f"{t}, {s}" for t, s, _ in errors))[:60]
    grid = pd.DataFrame(index=pd.Index(order), columns=pd.Index(rows.student.unique()), dtype=float)
    annotations = grid.astype(object).fillna("")
    for t, s, student in errors:
        difference = summarize(
            (errors[t, s, student] - scratch[student]) if student in scratch else []
        )
        if f"{t}, {s}" in order and difference.n:
            grid.loc[f"{t}, {s}", student] = difference.mean
            annotations.loc[f"{t}, {s}", student] = format_estimate(
                difference.mean, difference.half_width, sign="+"
            )
    figure, (axis,) = style.make_panels(1, height=max(2.2, 0.28 * len(grid) + 1))
    # An untrained teacher is a control, far out: it does not set the colours of the others.
    low, high = (
        grid.loc[~grid.index.str.endswith(f", {UNTRAINED_STOP}")].stack().agg(["min", "max"])
    )
    seaborn.heatmap(
        grid, ax=axis, annot=annotations, fmt="", cmap="cividis", linewidths=1, vmin=low, vmax=high,
        cbar_kws={"label": "difference to scratch, points"}, annot_kws={"fontsize": 8},
    )  # fmt: skip
    axis.set(xlabel="student", ylabel="")
    axis.grid(False)
    axis.tick_params(axis="y", rotation=0)
    return figure, (
        "Error after KD minus that of scratch, in points, with half of its interval; negative "
        "(dark) is better."
    )


FIGURE = FigureSpec("Teacher checkpoints and students", 30, plot_checkpoints)
