"""Accuracy of exported networks, against the time of an image and against bytes."""

import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator

from kdpipe.analysis.contest import (
    OPTION_COLUMNS,
    find_best_option,
    pivot_option_errors,
    select_terminal_students,
)
from kdpipe.analysis.dataframe import filter_rows, get_series_by_seed, group_rows
from kdpipe.report import style
from kdpipe.report.figure import FigureSpec, FigureWithCaption, count_marks
from kdpipe.stats.intervals import Summary, summarize
from kdpipe.text import format_count

KINDS = {
    "scratch": "from scratch",
    "student": "taught, as validation chose",
    "teacher": "teacher",
}
AXIS_LABELS = {"ms": "milliseconds for one image", "kB": "size of the file, kB"}
ANNOTATION_STYLE = {"textcoords": "offset points", "xytext": (4, -11), "fontsize": 8}


def plot_files(measured: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw each network in float32 and in int8."""
    cells = _select_cells(measured)
    if not cells:
        return None
    figure, axes = style.make_panels(2)
    for axis, (unit, label) in zip(axes, AXIS_LABELS.items(), strict=True):
        front = []
        for kind, label_of_kind in KINDS.items():
            role = "taught" if kind == "student" else kind
            style_args = style.ROLE_STYLES[role] | {"linestyle": ""}
            pairs = [
                (name, _measure_files(cell, unit))
                for cell_kind, name, cell in cells
                if cell_kind == kind
            ]
            for name, ((x, float32), (int8_cost, int8)) in pairs:
                line = {"color": style_args["color"], "linewidth": 0.8, "alpha": 0.6}
                axis.plot([x, int8_cost], [float32.mean, int8.mean], zorder=1, **line)
                if kind != "student":  # it stands beside the same network from scratch
                    axis.annotate(name, (x, float32.mean), **ANNOTATION_STYLE)
            for index, fill in enumerate(({}, {"markerfacecolor": "white"})):
                points = [(summarize([pair[index][0]]), pair[index][1]) for _, pair in pairs]
                if points:
                    file = ("float32", "int8")[index]
                    style.plot_scatter_ci(
                        axis, points, f"{label_of_kind}, {file}", **style_args | fill
                    )
                    front += [(x.mean, y.mean) for x, y in points]
        _plot_front(axis, front)
        axis.set(xscale="log", xlabel=label, ylabel="accuracy on test, %\nhigher is better \u2192")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.xaxis.set_major_formatter(
            lambda number, _: f"{number:,g}" if number < 1e4 else f"{number:,.0f}"
        )
        axis.xaxis.set_minor_locator(NullLocator())
        axis.margins(x=0.12)
    style.add_legend(figure, axes)
    return figure, (
        "Each network as a file, filled in float32, open in 8-bit integers, a thin line from "
        "one to the other; the grey line joins what nothing smaller or faster beats. Times are "
        "medians on the machine of the study, of one thread."
    )


def _select_cells(measured: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Return kind, name and rows of what is shown: scratch, chosen students, full teachers."""
    cells = []
    for key, rows in group_rows(filter_rows(measured, kind=["scratch", "student"]), "student"):
        cells.append(("scratch", key["student"], filter_rows(rows, kind="scratch")))
        students = select_terminal_students(rows)
        validation, _ = pivot_option_errors(students.assign(val_error=students.own_val_error))
        if (best := find_best_option(validation)) is not None:
            cell = filter_rows(students, **dict(zip(OPTION_COLUMNS, best, strict=True)))
            cells.append(("student", key["student"], cell))
    student_names = {name for _, name, _ in cells}
    for key, cell in group_rows(filter_rows(measured, kind="teacher", stop_kind="full"), "teacher"):
        if (
            key["teacher"] not in student_names
        ):  # as a teacher such a network is its run from scratch
            cells.append(("teacher", key["teacher"], cell))
    return [entry for entry in cells if len(get_series_by_seed(entry[2]))]


def _measure_files(
    cell: pd.DataFrame, unit: str
) -> tuple[tuple[float, Summary], tuple[float, Summary]]:
    """Return cost and accuracy of a network in float32 and in int8."""
    return (
        (
            _median_cost(cell, "float32", unit),
            summarize(100 - get_series_by_seed(cell, "own_error").astype(float)),
        ),
        (_median_cost(cell, "int8", unit), summarize(100 - get_series_by_seed(cell).astype(float))),
    )


def _median_cost(cell: pd.DataFrame, file: str, unit: str) -> float:
    """Return the median over seeds, in milliseconds or kB."""
    column = f"{file}_ms" if unit == "ms" else f"{file}_bytes"
    median = float(cell[column].astype(float).median())
    return median if unit == "ms" else median / 1000


def _plot_front(axis, points: list[tuple[float, float]]) -> None:
    """Plot the line that joins what nothing cheaper beats."""
    table = pd.DataFrame(points, columns=pd.Index(["price", "accuracy"]))
    table = table.sort_values(["price", "accuracy"], ascending=[True, False])
    table = table.loc[table.accuracy > table.accuracy.shift(fill_value=-1).cummax()]
    axis.step(table.price, table.accuracy, where="post", color="#555555", linewidth=1, zorder=0)


def find_losses(measured: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return of how many networks the file in 8-bit integers is better and worse."""
    cells = _select_cells(measured)
    better, worse = count_marks(
        get_series_by_seed(cell) - get_series_by_seed(cell, "own_error") for _, _, cell in cells
    )
    count = format_count(len(cells), "network")
    if not better and not worse:
        return f"no difference between int8 and float32 can be told in {count}"
    return f"in int8 {worse} of {count} {'is' if worse == 1 else 'are'} worse, {better} better"


FIGURE = FigureSpec("Networks as files", 105, plot_files, uses_export_rows=True, find=find_losses)
