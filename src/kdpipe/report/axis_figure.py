"""The figure of a student's error over an axis of its training, see `training_axes`."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from kdpipe.analysis.dataframe import get_series_by_seed
from kdpipe.report import style
from kdpipe.report.figure import (
    ERROR_LABEL,
    MAX_PANELS,
    FigureWithCaption,
    assign_method_styles,
    count_marks,
)
from kdpipe.report.training_axes import SCRATCH, Axis, Way, iter_students, iter_ways
from kdpipe.text import format_count

MAX_WAYS = 6  # lines in one panel
DIFFERENCE_LABEL = "difference of errors, points\n\u2190 taught is better"


def plot_axis(frame: pd.DataFrame, axis: Axis, caption: str) -> FigureWithCaption:
    """Draw two panels for each student: errors over the axis, and differences to labels alone.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame.
    axis : Axis
        `LENGTHS` or `TRAIN_SIZES`.
    caption : str
        What the figure shows.
    """
    panels = _select_panels(frame, axis)
    if not panels:
        return None
    styles = _assign_way_styles(
        frame, [way for _, _, taught in panels for way in taught[:MAX_WAYS]]
    )
    figure, axes = style.make_panels(2 * len(panels), width=3.8, height=3.2, across=2)
    for row, (student, scratch, taught) in enumerate(panels):
        errors, gains = axes[2 * row : 2 * row + 2]
        _plot_errors(errors, [scratch, *taught[:MAX_WAYS]], styles)
        _plot_differences(gains, scratch, taught[:MAX_WAYS], styles)
        errors.set(title=student, ylabel=ERROR_LABEL)
        gains.set(title=f"{student}, minus labels alone", ylabel=DIFFERENCE_LABEL)
        for panel in (errors, gains):
            values = sorted({value for way in (scratch, *taught) for value in way.cells})
            panel.set(xscale="log", xlabel=axis.label)
            panel.minorticks_off()
            style.set_tick_names(panel, values, [f"{value:g}" for value in values], rotate=False)
    style.add_legend(figure, axes)
    left_out = max(len(taught) - MAX_WAYS for _, _, taught in panels)
    note = f" {left_out} more ways are in the table." if left_out > 0 else ""
    return figure, (
        f"{caption} Differences are paired by seed, at the same length and number of images; below "
        f"0 distilling is better.{note}"
    )


def find_gains(frame: pd.DataFrame, axis: Axis, condition: str) -> str:
    """Return at how many points of the axis distilling is better and worse than labels alone.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame.
    axis : Axis
        `LENGTHS` or `TRAIN_SIZES`.
    condition : str
        What is equal in each comparison, as `at an equal length`.
    """
    differences = [
        difference
        for _, scratch, taught in _select_panels(frame, axis)
        for way in taught
        for difference in _compute_differences(scratch, way).values()
    ]
    better, worse = count_marks(differences)
    count = format_count(len(differences), "comparison")
    if not differences:
        return ""
    if not better and not worse:
        return f"{condition}, no difference to labels alone can be told in {count}"
    return f"{condition}, distilling is better in {better}, worse in {worse} of {count}"


def _select_panels(frame: pd.DataFrame, axis: Axis) -> list[tuple[str, Way, list[Way]]]:
    """Return the students that are trained at several values, on labels alone and taught."""
    panels = []
    for key, students in iter_students(frame, axis):
        ways = [way for way in iter_ways(students, axis) if len(way.cells) > 1]
        scratch = [way for way in ways if way.method == SCRATCH]
        taught = [way for way in ways if way.method != SCRATCH]
        if scratch and taught:
            panels.append((key["student"], scratch[0], taught))
    return panels[: MAX_PANELS // 2]


def _compute_differences(scratch: Way, way: Way) -> dict[float, pd.Series]:
    """Return the differences of a way to labels alone, paired by seed, at each value."""
    return {
        value: (get_series_by_seed(cell) - get_series_by_seed(scratch.cells[value])).dropna()
        for value, cell in way.cells.items()
        if value in scratch.cells
    }


def _assign_way_styles(frame: pd.DataFrame, ways: list[Way]) -> dict[str, dict[str, Any]]:
    """Return a style for each way: the color of its method, and a marker and a line of its own."""
    methods = assign_method_styles(frame)
    names = {way.name: way.method for way in ways}
    styles = {
        name: style.get_series_style(i) | {"color": methods[method]["color"]}
        for i, (name, method) in enumerate(names.items(), 1)
    }
    return {SCRATCH: style.ROLE_STYLES["scratch"]} | styles


def _plot_errors(panel: Axes, ways: list[Way], styles: dict[str, dict[str, Any]]) -> None:
    """Plot one line a way."""
    for way in ways:
        offset = style.dodge(list(styles).index(way.name), len(styles))
        points = [(value * offset, get_series_by_seed(cell)) for value, cell in way.cells.items()]
        style.plot_errorbars(panel, points, way.name, **styles[way.name])


def _plot_differences(
    panel: Axes, scratch: Way, ways: list[Way], styles: dict[str, dict[str, Any]]
) -> None:
    """Plot the paired differences to labels alone, one line a way, with 0 marked."""
    panel.axhline(0, color="#777777", linewidth=1, zorder=0)
    for way in ways:
        offset = style.dodge(list(styles).index(way.name), len(styles))
        differences = _compute_differences(scratch, way)
        points = [(value * offset, difference) for value, difference in differences.items()]
        style.plot_errorbars(panel, points, way.name, **styles[way.name])
