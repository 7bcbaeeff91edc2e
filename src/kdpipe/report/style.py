"""The style of all figures, and their bytes as SVG and PNG.

The colors are those of Okabe and Ito, which the color-blind can tell apart. Every series also has
a marker and a line style of its own, so that a figure can be read in gray. Text stays text in the
SVG, and the same figure gives the same bytes.
"""

import io
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdpipe.stats.intervals import Summary, summarize
from kdpipe.user_code import explain_renamed

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINE_STYLES = ("-", "--", "-.", ":")
RC_PARAMS: dict[Any, Any] = {
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

if not TYPE_CHECKING:
    # Former name, which custom figures may use.
    __getattr__ = explain_renamed(__name__, panels="make_panels")


def get_series_style(i: int) -> dict[str, Any]:
    """Return color, marker and line style of the i-th series; no two of the first 49 are alike."""
    return {
        "color": COLORS[i % len(COLORS)],
        "marker": MARKERS[(i + i // len(COLORS)) % len(MARKERS)],
        "linestyle": LINE_STYLES[i % len(LINE_STYLES)],
    }


def use_style() -> AbstractContextManager[None]:
    """Return a context in which everything is drawn in this style."""
    return matplotlib.rc_context(RC_PARAMS)


def make_panels(
    count: int,
    width: float = 3.6,
    height: float = 3.0,
    across: int | None = None,
    heights: list[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Create a figure with panels in rows; a single panel is wider.

    Parameters
    ----------
    count : int
        The number of panels.
    width, height : float
        The size of a panel, in inches.
    across : int or None
        Panels in a row; by default up to three.
    heights : list of float or None
        The height of each row in inches, where they differ.
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


def add_legend(figure: Figure, axes: list[Axes]) -> None:
    """Add one legend for several panels, outside of them so that it hides no point."""
    handles: dict = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    for columns in range(min(len(handles), 4), 0, -1):  # as many as fit beside each other
        legend = figure.legend(
            list(handles.values()), list(handles), loc="outside upper left", ncols=columns
        )
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def dodge(i: int, count: int, log: bool = True) -> float:
    """Return by what to shift x, so that error bars of several series stand apart.

    Multiply a logarithmic x by it, and add it to a linear one.
    """
    offset = i - (count - 1) / 2
    return 1.025**offset if log else 0.12 * offset


def plot_errorbars(
    axis: Axes, points: list[tuple[float, pd.Series]], label: str, **style: Any
) -> None:
    """Plot a line through the means at x, each with its 95 % interval over seeds."""
    stats = [(x, summarize(values)) for x, values in points]
    stats = [(x, s) for x, s in stats if s.n]
    if stats:
        halves = [h if (h := s.half_width) == h else 0 for _, s in stats]
        xs, mean_values = [x for x, _ in stats], [s.mean for _, s in stats]
        axis.errorbar(xs, mean_values, halves, label=label, capsize=2.5, elinewidth=1, **style)


def plot_scatter_ci(
    axis: Axes, points: list[tuple[Summary, Summary]], label: str, **style: Any
) -> None:
    """Plot points that no line joins, each with its 95 % intervals in x and y."""
    style |= {"linestyle": "", "alpha": 0.85, "elinewidth": 0.6, "label": label}
    x, y = ([point[i].mean for point in points] for i in (0, 1))
    halves = [[h if (h := point[i].half_width) == h else 0 for point in points] for i in (0, 1)]
    axis.errorbar(x, y, xerr=halves[0], yerr=halves[1], **style)


def plot_horizontal_ci(
    axis: Axes, points: list[tuple[pd.Series, float]], label: str, **style: Any
) -> None:
    """Plot means over seeds along x, each with its 95 % interval, at positions in y."""
    stats = [(summarize(values), position) for values, position in points]
    stats = [(s, position) for s, position in stats if s.n]
    halves = [h if (h := s.half_width) == h else 0 for s, _ in stats]
    mean_values, positions = [s.mean for s, _ in stats], [position for _, position in stats]
    axis.errorbar(
        mean_values, positions, xerr=halves, label=label, capsize=2.5, elinewidth=1, **style
    )


def plot_band(axis: Axes, values: pd.Series, label: str, upright: bool = False) -> None:
    """Plot a mean as a horizontal (or upright) line, and its 95 % interval as a band."""
    s = summarize(values)
    line, span = (axis.axvline, axis.axvspan) if upright else (axis.axhline, axis.axhspan)
    if s.n:
        line(s.mean, color="#555555", linestyle=(0, (1, 1.5)), label=label)
        if s.low == s.low:  # there is an interval
            span(s.low, s.high, color="#555555", alpha=0.12, linewidth=0)


def set_tick_names(
    axis: Axes, positions: Iterable[float], names: Iterable[str], rotate: bool = True
) -> None:
    """Set a tick at each position, with the name of what stands there."""
    positions = list(positions)
    axis.set_xticks(
        positions, list(names), rotation=35 if rotate else 0, ha="right" if rotate else "center"
    )
    axis.set_xticks([], minor=True)
    axis.margins(x=0.12)


def render_svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG to be inserted in a page: no XML head, ids of its own."""
    with matplotlib.rc_context({**RC_PARAMS, "svg.hashsalt": name}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Matplotlib's ids are hashes of coordinates whose last bits a layout does not determine.
    hashed = dict.fromkeys(re.findall(r'\sid="([mp][0-9a-f]{10})"', text))
    for number, old in enumerate(hashed):
        text = text.replace(old, f"{old[0]}{number}")
    text = re.sub(r'(\sid="|href="#|url\(#)', rf"\1{name}-", text)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)


def to_standalone_svg(text: str) -> str:
    """Return an inserted SVG as a file of its own."""
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}'


def render_png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    with matplotlib.rc_context(RC_PARAMS):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()
