"""Test error against the price of training: what more training brings, taught or not."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from kdpipe.analysis.contest import KEY_COLUMNS, select_entrants
from kdpipe.analysis.dataframe import get_series_by_seed, group_rows
from kdpipe.analysis.recommendation import Recommendation
from kdpipe.report import style
from kdpipe.report.figure import ERROR_LABEL, MAX_PANELS, FigureSpec, FigureWithCaption
from kdpipe.report.format import describe_price, format_si, format_stop
from kdpipe.stats.intervals import Summary, summarize

PRICE_LABELS = {
    "with_teachers": "all training",
    "with_answers": "the teacher's answers",
}
WIDE_PRICES = 40.0  # the highest by the lowest, from which on powers of ten have a number
MAX_NAMES = 5  # of points that nothing cheaper beats
MAX_WAYS = 6  # lines of ways that have several lengths; others are points
STAR_STYLE: dict = {"color": style.SHIPPED_COLOR, "marker": "*", "markersize": 13, "linestyle": ""}


class Point(NamedTuple):
    """A way of training at one length."""

    way: tuple
    side: str
    name: str
    prices: dict[str, float]
    errors: Summary
    is_shipped: bool
    length: str = ""  # where a taught way has several, and its name does not say it


def plot_training_price(
    frame: pd.DataFrame, curves: pd.DataFrame, recommendations: Sequence[Recommendation] = ()
) -> FigureWithCaption:
    """Draw a row of two panels for each student: the price with and without its teachers."""
    panels = _select_panels(frame, recommendations)
    if not panels:
        return None
    figure, axes = style.make_panels(2 * len(panels), width=3.8, height=3.4, across=2)
    for row, (student, points) in enumerate(panels):
        for axis, (price, label) in zip(
            axes[2 * row : 2 * row + 2], PRICE_LABELS.items(), strict=True
        ):
            _plot_ways(axis, points, price)
            _plot_front(axis, points, price)
            axis.set(title=f"{student}, {label}", xscale="log", ylabel=ERROR_LABEL)
            axis.set(xlabel="price of training, multiply-adds")
            axis.xaxis.set_major_formatter(lambda number, _: format_si(number))
            prices = [point.prices[price] for point in points]
            is_wide = max(prices) > WIDE_PRICES * min(prices)
            axis.xaxis.set_major_locator(LogLocator(subs=(1,) if is_wide else (1, 2, 5)))
            axis.margins(x=0.12, y=0.12)
            style.scale_errors(axis, [point.errors for point in points])
            axis.minorticks_off()
            _name_front(axis, points, price)
    style.add_legend(figure, axes)
    return figure, (
        "Each way of training against its price. On the left the price includes the training of "
        "all networks that it learned from, on the right only its teacher's answers. A line "
        "joins the lengths of one way; the star shows what to ship. The grey steps join the "
        "points that nothing cheaper beats, which are named, by their method if they have the same "
        "teacher. The errors are on test; choices "
        "were made on validation. An error far above the others is cut off, with a note."
    )


def _select_panels(
    frame: pd.DataFrame, recommendations: Sequence[Recommendation]
) -> list[tuple[str, list[Point]]]:
    """Return the students that are trained on labels alone and taught, with their points."""
    panels = []
    for key, rows in group_rows(select_entrants(frame), "contest"):
        points = _collect_points(key["contest"], rows, recommendations)
        if len(points) > 1 and {point.side for point in points} == {"taught", "labels"}:
            panels.append((key["contest"], points))
    return panels[: MAX_PANELS // 2]


def _collect_points(
    student: str, rows: pd.DataFrame, recommendations: Sequence[Recommendation]
) -> list[Point]:
    """Return every way of training of one student, the cheapest first."""
    shipped = [
        tuple(one.shipped.entrant.key.values())
        for one in recommendations
        if one.student == student and one.shipped is not None
    ]
    points, has_sizes = [], rows.train_size.nunique() > 1
    has_lengths = rows.loc[rows.side == "taught", "epochs"].nunique() > 1
    for key, cell in group_rows(rows, *KEY_COLUMNS):
        errors, row = summarize(get_series_by_seed(cell).astype(float)), cell.iloc[0]
        macs = [row.train_macs, row.teacher_macs, row.ancestor_macs]
        macs = [0.0 if pd.isna(value) else float(value) for value in macs]
        prices = {"with_teachers": sum(macs), "with_answers": sum(macs[:2])}
        if not errors.n or not prices["with_answers"] > 0:
            continue
        way = tuple(value for name, value in key.items() if name != "epochs")
        if row.side == "labels":  # whether it is trained for as long as a student or for longer
            way = (key["student"], key["train_size"])
        name = _name_point(key, str(row.side), has_sizes)
        is_shipped = tuple(key.values()) in shipped
        length = f", {key['epochs']:g} epochs" if has_lengths and row.side == "taught" else ""
        points.append(Point(way, str(row.side), name, prices, errors, is_shipped, length))
    return sorted(points, key=lambda point: (point.prices["with_teachers"], point.errors.mean))


def _name_point(key: dict, side: str, has_sizes: bool) -> str:
    """Return a short name, as `wrn16-2, kd` or `62 epochs on labels`."""
    if side == "labels":
        network = f"{key['student']}, " if key["kind"] == "teacher" else ""
        size = f", {key['train_size']:g} images" if has_sizes else ""
        return f"{network}{key['epochs']:g} epochs on labels{size}"
    stop = "" if key["stop"] == "full" else format_stop(key["stop"])
    parts = (key["teacher"], stop, key["via"] and f"through {key['via']}", key["method"])
    return ", ".join(part for part in parts if part)


def _plot_ways(axis: Axes, points: list[Point], price: str) -> None:
    """Plot the lines of ways with several lengths, the points of the others, and the star."""
    ways: dict[tuple[str, tuple], list[Point]] = {}
    for point in points:
        ways.setdefault((point.side, point.way), []).append(point)
    on_labels = [items for (side, _), items in ways.items() if side == "labels"]
    taught = [items for (side, _), items in ways.items() if side == "taught"]
    lines = [items for items in taught if len(items) > 1][:MAX_WAYS]
    rest = [point for items in taught if items not in lines for point in items]
    # One color for each side, on this figure as on the others; markers tell the ways apart.
    series = [("scratch", 0, "on labels alone", items, "-") for items in on_labels]
    series.append(("taught", 1, "taught, one length", rest, ""))
    series += [
        ("taught", i, f"taught: {items[0].name}", items, "-") for i, items in enumerate(lines, 2)
    ]
    for role, marker, label, items, linestyle in series:
        if items:
            items = sorted(items, key=lambda point: point.prices[price])
            halves = [h if (h := point.errors.half_width) == h else 0 for point in items]
            look: dict = {
                "color": style.ROLE_STYLES[role]["color"],
                "marker": style.MARKERS[marker % len(style.MARKERS)],
            }
            look |= {"linestyle": linestyle, "capsize": 2, "elinewidth": 0.8, "alpha": 0.85}
            xs, ys = [p.prices[price] for p in items], [p.errors.mean for p in items]
            axis.errorbar(xs, ys, halves, label=label, **look)
    for point in points:
        if point.is_shipped:
            position = ([point.prices[price]], [point.errors.mean])
            axis.plot(*position, label="to ship", zorder=5, **STAR_STYLE)


def _plot_front(axis: Axes, points: list[Point], price: str) -> None:
    """Plot what nothing cheaper beats."""
    front = _select_front(points, price)
    xs, ys = [p.prices[price] for p in front], [p.errors.mean for p in front]
    style_args = {"color": "#777777", "linewidth": 1, "zorder": 0}
    axis.step(xs, ys, where="post", label="nothing cheaper is better", **style_args)


def _name_front(axis: Axes, points: list[Point], price: str) -> None:
    """Name what nothing cheaper beats; of many such points the cheapest and the best ones."""
    front = _select_front(points, price)
    named = front if len(front) <= MAX_NAMES else [*front[:2], *front[2 - MAX_NAMES :]]
    box = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 1}
    labels = [
        (name, point.prices[price], point.errors.mean)
        for point, name in zip(named, _shorten_names(named), strict=True)
    ]
    style.label_points(axis, labels, fontsize=7, bbox=box)


def _shorten_names(points: list[Point]) -> list[str]:
    """Return the names with their lengths; if all the taught have one teacher, without it."""
    taught = [point.name.rpartition(", ") for point in points if point.side == "taught"]
    is_shared = len(taught) > 1 and len({teacher for teacher, _, _ in taught}) == 1
    return [
        (point.name.rpartition(", ")[2] if is_shared and point.side == "taught" else point.name)
        + point.length
        for point in points
    ]


def _select_front(points: list[Point], price: str) -> list[Point]:
    """Return the points that nothing cheaper beats, the cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.prices[price], point.errors.mean)):
        if not front or point.errors.mean < front[-1].errors.mean:
            front.append(point)
    return front


def find_answers(
    frame: pd.DataFrame, curves: pd.DataFrame, recommendations: Sequence[Recommendation] = ()
) -> str:
    """Return which side ships of each student, and what the best distilled one costs."""
    answers = {one.student: one for one in recommendations if one.is_settled}
    texts = []
    for student, _ in _select_panels(frame, recommendations):
        answer = answers.get(student)
        if answer is None or not (price := describe_price(answer.price_ratio)):
            continue
        if answer.side == "labels":
            texts.append(f"labels alone ship for {student} (the best distilled one {price})")
        else:
            texts.append(f"a distilled one ships for {student} (it {price} as labels alone)")
    return "; ".join(texts)


FIGURE = FigureSpec(
    "Error against the price of training",
    3,
    plot_training_price,
    shows_recommendations=True,
    find=find_answers,
)
