"""Heat map: teacher checkpoints by students, as the difference to scratch."""

import pandas as pd

from kdpipe.evidence.choices import method_of
from kdpipe.evidence.selections import UNTRAINED, direct, networks, where, wide
from kdpipe.report import style
from kdpipe.report.figure import Drawn, Figure
from kdpipe.report.text import rounded
from kdpipe.statistics.intervals import summary


def checkpoints(frame: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
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
    grid = pd.DataFrame(index=pd.Index(order), columns=pd.Index(rows.student.unique()), dtype=float)
    words = grid.astype(object).fillna("")
    for t, s, student in errors:
        found = summary((errors[t, s, student] - alone[student]) if student in alone else [])
        if f"{t}, {s}" in order and found.n:
            grid.loc[f"{t}, {s}", student] = found.mean
            words.loc[f"{t}, {s}", student] = rounded(found.mean, found.half_width, sign="+")
    figure, (axis,) = style.panels(1, height=max(2.2, 0.28 * len(grid) + 1))
    # An untrained teacher is a control, far out: it does not set the colours of the others.
    low, high = grid.loc[~grid.index.str.endswith(f", {UNTRAINED}")].stack().agg(["min", "max"])
    seaborn.heatmap(
        grid, ax=axis, annot=words, fmt="", cmap="cividis", linewidths=1, vmin=low, vmax=high,
        cbar_kws={"label": "difference to scratch, points"}, annot_kws={"fontsize": 8},
    )  # fmt: skip
    axis.set(xlabel="student", ylabel="")
    axis.grid(False)
    axis.tick_params(axis="y", rotation=0)
    return figure, (
        "Error after KD minus that of scratch, in points, with half of its interval; negative "
        "(dark) is better."
    )


FIGURE = Figure("Teacher checkpoints and students", 30, checkpoints)
