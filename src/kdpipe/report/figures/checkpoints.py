"""Heat map of teacher checkpoints by students, as the difference to scratch."""

import textwrap

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
from kdpipe.report.figure import FigureSpec, FigureWithCaption, count_marks
from kdpipe.report.format import format_estimate
from kdpipe.stats.intervals import summarize

COLUMN_LENGTH = 16  # in a line of a student's name


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
    columns = [textwrap.fill(name, COLUMN_LENGTH) for name in grid.columns]
    longest = max(map(len, order))
    figure, (axis,) = style.make_panels(
        1,
        width=max(3.6, (0.085 * longest + 1.2 * len(columns) + 1.0) / 1.4),
        height=max(2.4, 0.28 * len(grid) + 1.2),
    )
    limit, n_beyond = _find_color_limit(grid)
    seaborn.heatmap(
        grid.set_axis(columns, axis=1), ax=axis, annot=annotations, fmt="", cmap="RdBu_r",
        linewidths=1, vmin=-limit, vmax=limit, annot_kws={"fontsize": 8},
        cbar_kws={
            "label": "difference to scratch, points\n\u2190 taught is better",
            "extend": "both" if n_beyond else "neither",
        },
    )  # fmt: skip
    axis.set(xlabel="student", ylabel="")
    axis.grid(False)
    axis.tick_params(axis="both", rotation=0)
    clipped = f" {n_beyond} beyond the ends of the scale have its last color." if n_beyond else ""
    return figure, (
        "Error after KD minus that of scratch, in points, with half of its interval; below 0 "
        f"(blue) distilling is better.{clipped}"
    )


def _find_color_limit(grid: pd.DataFrame) -> tuple[float, int]:
    """Return where the colors end, on both sides of 0, and how many cells are beyond.

    Untrained teachers are controls, and others may be far out too: neither sets the colors.
    """
    is_control = grid.index.str.endswith(f", {UNTRAINED_STOP}")
    sizes = grid.abs().stack()
    trained = grid.loc[~is_control].abs().stack()
    trained = trained if len(trained) else sizes
    low, high = trained.quantile(0.25), trained.quantile(0.75)
    limit = float(trained[trained <= high + style.FENCE * (high - low)].max()) or 1.0
    return limit, int((sizes > limit).sum())


def find_better_cells(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return in how many cells distilling is better and worse than scratch, jointly told."""
    rows = drop_longer_teachers(select_label_trained_teachers(select_direct_students(frame)))
    rows = filter_rows(rows, method=find_main_method(frame, "kd"))
    errors = pivot_by_seed(rows, "teacher", "stop", "student")
    scratch = pivot_by_seed(filter_rows(frame, kind="scratch"), "student")
    pairs = [errors[column] - scratch[column[2]] for column in errors if column[2] in scratch]
    if not pairs:
        return ""
    better, worse = count_marks(pairs)
    if not better and not worse:
        return f"no difference to scratch can be told in any of {len(pairs)} cells"
    return f"better than scratch in {better}, worse in {worse} of {len(pairs)} cells"


FIGURE = FigureSpec(
    "Teacher checkpoints and students", 30, plot_checkpoints, find=find_better_cells
)
