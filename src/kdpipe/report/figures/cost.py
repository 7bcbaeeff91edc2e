"""Accuracy against cost, with the front of what nothing cheaper beats."""

import numpy as np
import pandas as pd
from matplotlib.ticker import NullFormatter

from kdpipe.evidence.selections import by_seed, groups
from kdpipe.report import style
from kdpipe.report.figure import Drawn, Figure
from kdpipe.statistics.intervals import summary


def cost(frame: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
    kinds = {"scratch": "scratch", "scratch_long": "scratch, longer", "student": "distilled"}
    kinds |= {"teacher": "teacher", "ensemble": "ensemble"}
    points = []
    keys = ("kind", "student", "teacher", "stop", "via", "generation", "method", "ensemble")
    for key, cell in groups(frame, *keys, "epochs"):
        row, errors = cell.iloc[0], by_seed(cell)
        if len(errors):
            trained = np.nansum([row.train_macs, row.teacher_macs, row.ancestor_macs])
            if key["kind"] == "teacher" and row.epochs:  # a checkpoint is a part of its run
                trained *= min(1.0, row.stop_epochs / row.epochs)
            points.append((key["kind"], row.multiply_adds, trained, summary(100 - errors)))
    table = pd.DataFrame(points, columns=pd.Index(["kind", "use", "training", "summary"]))
    if len(table) < 3:
        return None
    table["accuracy"] = [s.mean for s in table.summary]
    figure, axes = style.panels(2)
    labels = {
        "use": "multiply-adds for one image",
        "training": "multiply-adds to train, with teacher",
    }
    for axis, (column, label) in zip(axes, labels.items(), strict=True):
        shown = table.loc[table[column] > 0]
        for i, (kind, name) in enumerate(kinds.items()):
            part = shown.loc[shown.kind == kind]
            exact = [summary([place]) for place in part[column]]
            points = list(zip(exact, part.summary, strict=True))
            if points:
                style.cloud(axis, points, name, **style.look(i))
        front = shown.sort_values([column, "accuracy"], ascending=[True, False])
        front = front.loc[front.accuracy > front.accuracy.shift(fill_value=-1).cummax()]
        axis.step(front[column], front.accuracy, where="post", color="#555555", linewidth=1)
        axis.set(xscale="log", xlabel=label, ylabel="accuracy on test, %")
        axis.xaxis.set_minor_formatter(NullFormatter())
    style.legend(figure, axes)
    return figure, "Each point is the mean of a cell; the line joins what nothing cheaper beats."


FIGURE = Figure("Accuracy against cost", 100, cost)
