"""Accuracy against cost, with the front that nothing cheaper beats."""

import numpy as np
import pandas as pd
from matplotlib.ticker import NullFormatter

from kdpipe.analysis.dataframe import get_series_by_seed, group_rows
from kdpipe.report import style
from kdpipe.report.figure import FigureSpec, FigureWithCaption
from kdpipe.stats.intervals import summarize


def plot_cost(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw accuracy against the cost of an image, and of training."""
    kinds = {"scratch": "scratch", "scratch_long": "scratch, longer", "student": "distilled"}
    kinds |= {"teacher": "teacher", "ensemble": "ensemble"}
    points = []
    keys = ("kind", "student", "teacher", "stop", "via", "generation", "method", "ensemble")
    for key, cell in group_rows(frame, *keys, "epochs"):
        row, errors = cell.iloc[0], get_series_by_seed(cell)
        if len(errors):
            training_macs = np.nansum([row.train_macs, row.teacher_macs, row.ancestor_macs])
            if key["kind"] == "teacher" and row.epochs:  # a checkpoint is a part of its run
                training_macs *= min(1.0, row.stop_epochs / row.epochs)
            points.append((key["kind"], row.multiply_adds, training_macs, summarize(100 - errors)))
    table = pd.DataFrame(points, columns=pd.Index(["kind", "use", "training", "summary"]))
    if len(table) < 3:
        return None
    table["accuracy"] = [s.mean for s in table.summary]
    figure, axes = style.make_panels(2)
    labels = {
        "use": "multiply-adds for one image",
        "training": "multiply-adds to train, with teacher",
    }
    for axis, (column, label) in zip(axes, labels.items(), strict=True):
        visible = table.loc[table[column] > 0]
        for i, (kind, name) in enumerate(kinds.items()):
            part = visible.loc[visible.kind == kind]
            costs = [summarize([value]) for value in part[column]]
            points = list(zip(costs, part.summary, strict=True))
            if points:
                style.plot_scatter_ci(axis, points, name, **style.get_series_style(i))
        front = visible.sort_values([column, "accuracy"], ascending=[True, False])
        front = front.loc[front.accuracy > front.accuracy.shift(fill_value=-1).cummax()]
        axis.step(front[column], front.accuracy, where="post", color="#555555", linewidth=1)
        axis.set(xscale="log", xlabel=label, ylabel="accuracy on test, %")
        axis.xaxis.set_minor_formatter(NullFormatter())
    style.add_legend(figure, axes)
    return figure, "Each point is the mean of a cell; the line joins what nothing cheaper beats."


FIGURE = FigureSpec("Accuracy against cost", 100, plot_cost)
