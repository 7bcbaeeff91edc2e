"""How a figure looks: one style for all, and its bytes as SVG and PNG.

Colours are those of Okabe and Ito, told apart by the colour-blind; every series also has its own
marker and line style, so a figure holds in grey. Text stays text in the SVG; the same figure
gives the same bytes.
"""

import io
import re

import matplotlib

matplotlib.use("Agg")

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdpipe.statistics.intervals import Summary, summary

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
STYLE: dict = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "figure.facecolor": "white",
}


def look(i: int) -> dict:
    """Colour, marker and line style of the i-th series."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": LINES[i % len(LINES)],
    }


def applied():
    """A context in which everything is drawn in this style."""
    return matplotlib.rc_context(STYLE)


def panels(
    count: int,
    width: float = 3.6,
    height: float = 3.0,
    across: int | None = None,
    heights: list[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """A row of panels, wrapped after `across` (default: three); a single one is wider.

    heights: of each line of panels, in inches, where they differ.
    """
    across = across or min(count, 2 if count == 4 else 3)
    down = -(-count // across)
    size = (width * max(across, 1.4), sum(heights) if heights else height * down)
    figure, axes = plt.subplots(
        down, across, figsize=size, squeeze=False, layout="constrained", height_ratios=heights
    )
    plt.close(figure)  # it lives on; pyplot forgets it
    flat = list(axes.flat)
    for spare in flat[count:]:
        spare.set_axis_off()
    return figure, flat[:count]


def legend(figure: Figure, axes: list[Axes]) -> None:
    """One legend for some panels, outside of them: it never hides a point."""
    known: dict = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    for columns in range(min(len(known), 4), 0, -1):  # as many as fit beside each other
        drawn = figure.legend(
            list(known.values()), list(known), loc="outside upper left", ncols=columns
        )
        if columns == 1 or drawn.get_window_extent().width <= figure.bbox.width:
            return
        drawn.remove()


def aside(i: int, count: int, log: bool = True) -> float:
    """What to multiply (log) x with, or add to it, so that bars of several series stand apart."""
    place = i - (count - 1) / 2
    return 1.025**place if log else 0.12 * place


def bars(axis: Axes, points: list[tuple[float, pd.Series]], label: str, **style) -> None:
    """A line through the means at x, each with its 95 % interval over seeds."""
    found = [(x, summary(values)) for x, values in points]
    found = [(x, s) for x, s in found if s.n]
    if found:
        halves = [h if (h := s.half_width) == h else 0 for _, s in found]
        xs, means = [x for x, _ in found], [s.mean for _, s in found]
        axis.errorbar(xs, means, halves, label=label, capsize=2.5, elinewidth=1, **style)


def cloud(axis: Axes, points: list[tuple[Summary, Summary]], label: str, **style) -> None:
    """Points that no line joins, each with its 95 % intervals in x and y."""
    style |= {"linestyle": "", "alpha": 0.85, "elinewidth": 0.6, "label": label}
    x, y = ([one[i].mean for one in points] for i in (0, 1))
    halves = [[h if (h := one[i].half_width) == h else 0 for one in points] for i in (0, 1)]
    axis.errorbar(x, y, xerr=halves[0], yerr=halves[1], **style)


def beside(axis: Axes, points: list[tuple[pd.Series, float]], label: str, **style) -> None:
    """Means over seeds along x, each with its 95 % interval, at places on the y axis."""
    found = [(summary(values), place) for values, place in points]
    found = [(s, place) for s, place in found if s.n]
    halves = [h if (h := s.half_width) == h else 0 for s, _ in found]
    means, places = [s.mean for s, _ in found], [place for _, place in found]
    axis.errorbar(means, places, xerr=halves, label=label, capsize=2.5, elinewidth=1, **style)


def within(axis: Axes, values: pd.Series, label: str, upright: bool = False) -> None:
    """A mean as a horizontal (or upright) line, its 95 % interval as a band."""
    s = summary(values)
    line, span = (axis.axvline, axis.axvspan) if upright else (axis.axhline, axis.axhspan)
    if s.n:
        line(s.mean, color="#555555", linestyle=(0, (1, 1.5)), label=label)
        if s.low == s.low:  # there is an interval
            span(s.low, s.high, color="#555555", alpha=0.12, linewidth=0)


def name_ticks(axis, places, names, turn: bool = True) -> None:
    """A tick at each place, with the name of what stands there."""
    places = list(places)
    axis.set_xticks(
        places, list(names), rotation=35 if turn else 0, ha="right" if turn else "center"
    )
    axis.set_xticks([], minor=True)
    axis.margins(x=0.12)


def svg(figure: Figure, name: str) -> str:
    """The figure to stand inside a page: no XML head, its ids its own."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(\sid="|href="#|url\(#)', rf"\1{name}-", text)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)


def alone(text: str) -> str:
    """The SVG as a file of its own."""
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}'


def png(figure: Figure) -> bytes:
    """The same as pixels."""
    with matplotlib.rc_context(STYLE):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()
