"""The style of all figures, and their bytes as SVG and PNG.

One thing has one color in all figures of a report: what is trained on labels alone, what is taught,
teachers, each method. The colors are those of Okabe and Ito, which the color-blind can tell apart,
and two more. Every series also has a marker and a line style of its own, so that a figure can be
read in gray. Text stays text in the SVG, and the same figure gives the same bytes.
"""

import io
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from kdpipe.stats.intervals import Summary, summarize
from kdpipe.user_code import explain_renamed

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINE_STYLES = ("-", "--", "-.", ":")
SHIPPED_COLOR = "#000000"
ROLE_STYLES: dict[str, dict[str, Any]] = {
    "scratch": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "scratch, longer": {"color": "#0072B2", "marker": "P", "linestyle": "-"},
    "taught": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "teacher": {"color": "#009E73", "marker": "^", "linestyle": "-."},
    "ensemble": {"color": "#56B4E9", "marker": "v", "linestyle": ":"},
    "train": {"color": "#999999", "marker": "s", "linestyle": "--"},
    "test": {"color": "#000000", "marker": "o", "linestyle": "-"},
}
# Of methods: none is that of labels alone, of a teacher or of an ensemble; KD is as "taught".
METHOD_COLORS = ("#D55E00", "#CC79A7", "#E69F00", "#000000", "#882255", "#999933", "#999999")
TEACHER_MAP, LIGHTEST_TEACHER = "Greens", 0.45  # the larger a teacher, the darker
FENCE = 3.0  # values so many interquartile ranges beyond the quartiles are cut off
WIDE_RANGE = 5.0  # the largest error by the smallest, from which on an axis is logarithmic
LABEL_SIZE = 8  # of text beside points, in points
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


def get_method_style(i: int) -> dict[str, Any]:
    """Return color, marker and line style of the i-th method; no two of the first 49 are alike."""
    return get_series_style(i) | {"color": METHOD_COLORS[i % len(METHOD_COLORS)]}


def get_teacher_style(i: int, count: int) -> dict[str, Any]:
    """Return color, marker and line style of the i-th of several teachers, the smallest first."""
    share = 1.0 if count == 1 else LIGHTEST_TEACHER + (1 - LIGHTEST_TEACHER) * i / (count - 1)
    return get_series_style(i) | {"color": to_hex(matplotlib.colormaps[TEACHER_MAP](share))}


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
        Panels in a row; by default up to two, so that a phone shows them.
    heights : list of float or None
        The height of each row in inches, where they differ.
    """
    across = across or min(count, 2)
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
    """Add one legend for several panels, above them; the figure grows by it.

    So it hides no point, and the panels keep their size, however many series there are.
    """
    handles: dict = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    for columns in range(min(len(handles), 4), 0, -1):  # as many as fit beside each other
        legend = figure.legend(
            list(handles.values()), list(handles), loc="outside upper left", ncols=columns
        )
        extent = legend.get_window_extent()
        if columns == 1 or extent.width <= figure.bbox.width:
            figure.set_figheight(figure.get_figheight() + extent.height / figure.dpi)
            return
        legend.remove()


def dodge(i: int, count: int, log: bool = True) -> float:
    """Return by what to shift x, so that error bars of several series stand apart.

    Multiply a logarithmic x by it, and add it to a linear one.
    """
    offset = i - (count - 1) / 2
    return 1.025**offset if log else 0.12 * offset


def shift(x: float, i: int, count: int, log: bool = True) -> float:
    """Return x shifted for the i-th of several series, see `dodge`."""
    offset = dodge(i, count, log)
    return x * offset if log else x + offset


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


def scale_errors(axis: Axes, errors: Iterable[Summary], along: str = "y") -> list[float]:
    """Scale an axis of errors so that it can be read: outliers are cut off with a note.

    Where most errors differ by a factor of `WIDE_RANGE`, the axis is logarithmic instead.

    Parameters
    ----------
    axis : Axes
        The panel.
    errors : iterable of Summary
        The errors that it shows.
    along : {"x", "y"}
        The axis that shows them.

    Returns
    -------
    list of float
        The means that are cut off; along x the caller marks each in its row.
    """
    stats = [s for s in errors if s.n]
    means = np.array([s.mean for s in stats])
    if not len(means):
        return []
    low, high = np.quantile(means, [0.25, 0.75])
    is_above = means > high + FENCE * (high - low)
    lowest, highest = means.min(), means[~is_above].max()
    if highest > WIDE_RANGE * lowest > 0:
        _set_log_errors(axis, along)
        return []
    room = max(highest - lowest, 0.02 * highest)  # an interval may be longer, of a diverged run
    shown = [s for s, above in zip(stats, is_above, strict=True) if not above]
    bottom = min(max(s.low, s.mean - room) if s.low == s.low else s.mean for s in shown)
    top = max(min(s.high, s.mean + room) if s.high == s.high else s.mean for s in shown)
    margin = 0.08 * (top - bottom)
    limits = max(0.0, bottom - margin), top + margin
    axis.set(**{f"{along}lim": limits})
    cut_off = sorted(means[is_above].tolist())
    if cut_off and along == "y":
        text = f"{len(cut_off)} above, up to {cut_off[-1]:.3g}"
        position: dict = {"xycoords": "axes fraction", "ha": "right", "va": "top"}
        axis.annotate(text, (0.98, 0.97), fontsize=LABEL_SIZE, **position)
    return cut_off


def _set_log_errors(axis: Axes, along: str) -> None:
    """Make an axis of errors logarithmic, with plain numbers."""
    axis.set(**{f"{along}scale": "log"})
    scale = axis.xaxis if along == "x" else axis.yaxis
    scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
    scale.set_major_formatter(lambda number, _: f"{number:g}")
    scale.set_minor_locator(NullLocator())


def mark_beyond(axis: Axes, points: Iterable[tuple[float, float]]) -> None:
    """Write the values of points beyond the right end of a panel, with an arrow, in their rows."""
    right = axis.get_xlim()[1]
    box: Any = {"facecolor": "white", "linewidth": 0, "pad": 1}
    for value, position in points:
        if value > right:
            text = f"{value:.0f} \u2192 "
            look: dict[str, Any] = {"fontsize": LABEL_SIZE, "bbox": box}
            axis.text(right, position, text, ha="right", va="center", **look)


def label_lines(axis: Axes) -> None:
    """Write the name of each line of means beside its end, in its color, in place of a legend."""
    ends = []
    for bars in axis.containers:
        line = bars[0]  # of error bars
        x, y = line.get_data()
        ends.append((str(bars.get_label()), x[-1], y[-1], line.get_color()))
    longest = max((len(name) for name, *_ in ends), default=0)
    axis.margins(x=0.05)
    low, high = axis.get_xlim()
    width = axis.get_position().width * axis.get_figure(root=True).get_figwidth() * 72  # type: ignore[union-attr]
    share = min(0.6, (0.6 * LABEL_SIZE * longest + 10) / width)
    axis.set_xlim(low, high + (high - low) * share / (1 - share))
    colors = {name: color for name, *_, color in ends}
    label_points(axis, [(name, x, y) for name, x, y, _ in ends], colors)


def label_points(
    axis: Axes,
    points: Iterable[tuple[str, float, float]],
    colors: dict[str, str] | None = None,
    **text: Any,
) -> None:
    """Write a name beside each point, none on another one.

    Parameters
    ----------
    axis : Axes
        The panel, with its limits and scales as they stay.
    points : iterable of (str, float, float)
        The names, with their positions.
    colors : dict, optional
        The color of each name; by default all are black.
    **text
        Properties of the text.
    """
    box, size = axis.get_position(), axis.get_figure(root=True).get_size_inches() * 72  # type: ignore[union-attr]
    width, height = box.width * size[0], box.height * size[1]
    to_share = axis.transScale + axis.transLimits
    taken: list[tuple[float, float, float]] = []  # left end, right end and height of a line
    text_args: dict[str, Any] = {"fontsize": LABEL_SIZE, "va": "center"} | text
    line = 1.25 * text_args["fontsize"]
    for name, x, y in sorted(points, key=lambda point: (-point[2], point[1], point[0])):
        share_x, share_y = to_share.transform((x, y))
        length = 0.6 * text_args["fontsize"] * len(name)
        is_left = share_x * width + 7 + length > width and share_x > 0.5
        left = share_x * width - 7 - length if is_left else share_x * width + 7
        steps = (step * sign * line for step in range(len(taken) + 1) for sign in (-1, 1))
        shift = next(
            shift
            for shift in steps
            if not any(
                left < end and start < left + length and abs(share_y * height + shift - at) < line
                for start, end, at in taken
            )
        )
        taken.append((left, left + length, share_y * height + shift))
        axis.annotate(
            name, (x, y), (-7 if is_left else 7, shift), textcoords="offset points",
            ha="right" if is_left else "left", color=(colors or {}).get(name), **text_args,
        )  # fmt: skip


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
