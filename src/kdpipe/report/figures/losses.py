"""CE against KD loss on train, one point for each cell."""

import pandas as pd

from kdpipe.evidence.selections import by_seed, direct, groups, networks
from kdpipe.report import style
from kdpipe.report.figure import Drawn, Figure, numbered, students_of
from kdpipe.statistics.intervals import summary


def losses(frame: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
    rows = networks(direct(frame))
    rows = rows.loc[rows.train_kl.notna()]
    cell_of = ["teacher", "stop", "method"]
    methods = numbered(students_of(rows), "method")
    students = [(s, p) for s, p in students_of(rows) if len(p.drop_duplicates(cell_of)) > 2]
    if not students:
        return None
    figure, axes = style.panels(len(students))
    for axis, (student, part) in zip(axes, students, strict=True):
        for key, cells in groups(part, "method"):
            i = methods[key["method"]]
            points = [
                (summary(by_seed(c, "train_kl")), summary(by_seed(c, "train_nll")))
                for _, c in groups(cells, "teacher", "stop")
            ]
            style.cloud(axis, points, key["method"], **style.look(i))
        axis.set(title=student, xlabel="KD loss on train, nat", ylabel="CE on train, nat")
    style.legend(figure, axes)
    return figure, "Each point is the mean of a cell (teacher, stop, method); lower left is best."


FIGURE = Figure("Cross-entropy against the KD loss", 60, losses)
