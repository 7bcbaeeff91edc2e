"""Accuracy against cost, with the front that nothing cheaper beats."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from kdpipe.analysis.dataframe import get_metric, get_series_by_seed, group_rows
from kdpipe.report import style
from kdpipe.report.figure import FigureSpec, FigureWithCaption
from kdpipe.report.format import format_si
from kdpipe.runs.decision_metric import name_accuracy
from kdpipe.stats.intervals import summarize

# The arrow points up where the text is turned.
ACCURACY_LABEL = "{} on test, %\nhigher is better \u2192"
KINDS = {
    "scratch": "scratch",
    "scratch_long": "scratch, longer",
    "student": "taught",
    "teacher": "teacher",
    "ensemble": "ensemble",
}


def plot_cost(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw accuracy against the cost of an image, and of training."""
    table = _collect_points(frame)
    if len(table) < 3:
        return None
    metric = get_metric(frame)
    ylabel = ACCURACY_LABEL.format(name_accuracy(metric))
    figure, axes = style.make_panels(2)
    labels = {
        "use": "multiply-adds for one image",
        "training": "multiply-adds to train, with teacher",
    }
    for axis, (column, label) in zip(axes, labels.items(), strict=True):
        visible = table.loc[table[column] > 0]
        for kind, name in KINDS.items():
            part = visible.loc[visible.kind == kind]
            costs = [summarize([value]) for value in part[column]]
            points = list(zip(costs, part.summary, strict=True))
            if points:
                style.plot_scatter_ci(axis, points, name, **style.ROLE_STYLES[name])
        front = _select_front(visible, column)
        axis.step(front[column], front.accuracy, where="post", color="#555555", linewidth=1)
        axis.set(xscale="log", xlabel=label, ylabel=ylabel)
        axis.xaxis.set_major_formatter(lambda number, _: format_si(number))
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.minorticks_off()
        _cut_off(axis, visible.accuracy)
    style.add_legend(figure, axes)
    one = "An accuracy" if metric == "top1" else f"A {name_accuracy(metric)}"
    return figure, (
        f"Each point is the mean of a cell; the line joins what nothing cheaper beats. {one} "
        "far below the others is cut off, with a note."
    )


def _collect_points(frame: pd.DataFrame) -> pd.DataFrame:
    """Return kind, costs and accuracy of each cell."""
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
    table["accuracy"] = [s.mean for s in table.summary]
    return table


def _select_front(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the cells that nothing cheaper beats, the cheapest first."""
    front = table.sort_values([column, "accuracy"], ascending=[True, False])
    return front.loc[front.accuracy > front.accuracy.shift(fill_value=-1).cummax()]


def find_front(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return how many cells nothing that is cheaper to train beats, by their kind."""
    table = _collect_points(frame)
    table = table.loc[table.training > 0]
    counts = _select_front(table, "training").kind.map(KINDS).value_counts()
    kinds = "; ".join(f"{counts[name]} {name}" for name in KINDS.values() if name in counts)
    verb = "is" if counts.sum() == 1 else "are"
    return (
        f"{counts.sum()} of {len(table)} cells {verb} beaten by nothing cheaper to train ({kinds})"
    )


def _cut_off(axis: Axes, accuracies: pd.Series) -> None:
    """Cut off accuracies far below the others, and say how many."""
    low, high = accuracies.quantile(0.25), accuracies.quantile(0.75)
    is_below = accuracies < low - style.FENCE * (high - low)
    if is_below.any():
        bottom, top = accuracies[~is_below].min(), accuracies.max()
        margin = 0.1 * max(top - bottom, 1.0)
        axis.set_ylim(bottom - margin, top + margin)
        text = f"{is_below.sum()} below, down to {accuracies.min():.3g}"
        place: dict = {"xycoords": "axes fraction", "ha": "right", "va": "bottom"}
        axis.annotate(text, (0.98, 0.02), fontsize=style.LABEL_SIZE, **place)


FIGURE = FigureSpec("Accuracy against cost", 100, plot_cost, find=find_front)
