"""Accuracy of networks as files, against the time of an image and against bytes."""

import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator

from kdpipe.evidence.advice.answer import OPTION, ends, options, preferred
from kdpipe.evidence.selections import by_seed, groups, where
from kdpipe.report import style
from kdpipe.report.figure import Drawn, Figure
from kdpipe.statistics.intervals import Summary, summary

KINDS = {
    "scratch": "from scratch",
    "student": "distilled, as validation chose",
    "teacher": "teacher",
}
AXES = {"ms": "milliseconds for one image", "kB": "size of the file, kB"}
NAMED = {"textcoords": "offset points", "xytext": (4, -11), "fontsize": 8}


def files(measured: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
    cells = _cells(measured)
    if not cells:
        return None
    figure, axes = style.panels(2)
    for axis, (unit, label) in zip(axes, AXES.items(), strict=True):
        front = []
        for i, (kind, label_of_kind) in enumerate(KINDS.items()):
            looks = style.look(i) | {"linestyle": ""}
            shown = [(name, _ends(cell, unit)) for what, name, cell in cells if what == kind]
            for name, ((x, exact), (other, rough)) in shown:
                line = {"color": looks["color"], "linewidth": 0.8, "alpha": 0.6}
                axis.plot([x, other], [exact.mean, rough.mean], zorder=1, **line)
                if kind != "student":  # it stands beside the same network from scratch
                    axis.annotate(name, (x, exact.mean), **NAMED)
            for place, fill in enumerate(({}, {"markerfacecolor": "white"})):
                points = [(summary([pair[place][0]]), pair[place][1]) for _, pair in shown]
                if points:
                    file = ("float32", "int8")[place]
                    style.cloud(axis, points, f"{label_of_kind}, {file}", **looks | fill)
                    front += [(x.mean, y.mean) for x, y in points]
        _front(axis, front)
        axis.set(xscale="log", xlabel=label, ylabel="accuracy on test, %")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.xaxis.set_major_formatter(lambda number, _: f"{number:,.4g}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.margins(x=0.12)
    style.legend(figure, axes)
    return figure, (
        "Each network as a file, filled in float32, open in 8-bit integers, a thin line from "
        "one to the other; the grey line joins what nothing smaller or faster beats. Times are "
        "medians on the machine of the study, of one thread."
    )


def _cells(measured: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """What is shown, by kind and name: networks from scratch, as chosen, and full teachers."""
    found = []
    for key, rows in groups(where(measured, kind=["scratch", "student"]), "student"):
        found.append(("scratch", key["student"], where(rows, kind="scratch")))
        taught = ends(rows)
        validation, _ = options(taught.assign(val_error=taught.own_val_error))
        if (best := preferred(validation)) is not None:
            cell = where(taught, **dict(zip(OPTION, best, strict=True)))
            found.append(("student", key["student"], cell))
    also = {name for _, name, _ in found}
    for key, cell in groups(where(measured, kind="teacher", stop_kind="full"), "teacher"):
        if key["teacher"] not in also:  # as a teacher such a network is its run from scratch
            found.append(("teacher", key["teacher"], cell))
    return [one for one in found if len(by_seed(one[2]))]


def _ends(cell: pd.DataFrame, unit: str) -> tuple[tuple[float, Summary], tuple[float, Summary]]:
    """Where a network stands in float32 and in int8: its price, and its accuracy over seeds."""
    return (
        (_price(cell, "float32", unit), summary(100 - by_seed(cell, "own_error").astype(float))),
        (_price(cell, "int8", unit), summary(100 - by_seed(cell).astype(float))),
    )


def _price(cell: pd.DataFrame, file: str, unit: str) -> float:
    """The median over seeds: milliseconds, or kB."""
    column = f"{file}_ms" if unit == "ms" else f"{file}_bytes"
    median = float(cell[column].astype(float).median())
    return median if unit == "ms" else median / 1000


def _front(axis, points: list[tuple[float, float]]) -> None:
    table = pd.DataFrame(points, columns=pd.Index(["price", "accuracy"]))
    table = table.sort_values(["price", "accuracy"], ascending=[True, False])
    table = table.loc[table.accuracy > table.accuracy.shift(fill_value=-1).cummax()]
    axis.step(table.price, table.accuracy, where="post", color="#555555", linewidth=1, zorder=0)


FIGURE = Figure("Networks as files", 105, files, of_files=True)
