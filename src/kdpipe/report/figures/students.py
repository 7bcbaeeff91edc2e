"""Students and teachers against what an image costs them: which network to take at all."""

import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator

from kdpipe.analysis.contest import (
    find_best_option,
    pivot_option_errors,
    select_terminal_students,
)
from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    select_label_trained_teachers,
)
from kdpipe.report import style
from kdpipe.report.figure import ERROR_LABEL, FigureSpec, FigureWithCaption, describe_best
from kdpipe.report.format import format_si
from kdpipe.stats.intervals import summarize

MIN_NETWORKS = 2  # networks: of one there is nothing to compare

Networks = list[tuple[str, float, pd.Series]]  # name, multiply-adds of an image, errors by seed


def plot_students(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw every network from scratch, distilled and as a teacher."""
    kinds = {
        kind: [(name, cost, summarize(errors)) for name, cost, errors in networks]
        for kind, networks in _collect_kinds(frame).items()
    }
    labels = {"scratch": "from scratch", "taught": "taught, as validation chose"}
    costs = {name: cost for points in kinds.values() for name, cost, _ in points}
    if not kinds["taught"] or len(costs) < MIN_NETWORKS:
        return None
    figure, (axis,) = style.make_panels(1, width=3.4, height=4.2)
    for i, (kind, points) in enumerate(kinds.items()):
        offset = style.dodge(i, len(kinds))
        positions = [(summarize([cost * offset]), s) for _, cost, s in points if s.n]
        if positions:
            style.plot_scatter_ci(
                axis, positions, labels.get(kind, kind), **style.ROLE_STYLES[kind]
            )
    axis.set(xscale="log", xlabel="multiply-adds for one image", ylabel=ERROR_LABEL)
    cost_ratio = max(costs.values()) / min(costs.values())
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if cost_ratio < 30 else (1, 3)))
    axis.xaxis.set_major_formatter(lambda number, _: format_si(number))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.margins(x=0.15)
    style.scale_errors(axis, [s for points in kinds.values() for *_, s in points])
    lowest = {
        name: min(s.mean for points in kinds.values() for item, _, s in points if item == name)
        for name in costs
    }
    style.label_points(axis, [(name, costs[name], error) for name, error in lowest.items()])
    style.add_legend(figure, [axis])
    return (
        figure,
        "Each network against what an image costs it: from scratch, distilled in the way that "
        "validation chose, and as a teacher.",
    )


def _collect_kinds(frame: pd.DataFrame) -> dict[str, Networks]:
    """Return the networks from scratch, distilled as validation chose, and as teachers."""
    distilled: Networks = []
    for key, rows in group_rows(select_terminal_students(frame), "student"):
        validation, test = pivot_option_errors(rows)
        if (best := find_best_option(validation)) is not None:
            errors = pd.Series(test[best]).astype(float)
            distilled.append((key["student"], rows.multiply_adds.max(), errors))
    scratch = _collect_networks(filter_rows(frame, kind="scratch"), "student")
    teachers = _collect_networks(
        filter_rows(select_label_trained_teachers(frame), kind="teacher", stop_kind="full"),
        "teacher",
    )
    names = {name for name, *_ in scratch}  # as a teacher such a network is its run from scratch
    others = [item for item in teachers if item[0] not in names]
    return {"scratch": scratch, "taught": distilled, "teacher": others}


def _collect_networks(rows: pd.DataFrame, name: str) -> Networks:
    """Return the networks that learned from labels, by the column that names them."""
    return [
        (key[name], cell.multiply_adds.max(), get_series_by_seed(cell).astype(float))
        for key, cell in group_rows(rows, name)
    ]


def find_best_network(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return which network has the lowest error, if that can be told."""
    suffixes = {"scratch": " from scratch", "taught": ", taught,", "teacher": ""}
    errors = {
        f"{name}{suffixes[kind]}": values
        for kind, networks in _collect_kinds(frame).items()
        for name, _, values in networks
    }
    return describe_best(errors, "network")


FIGURE = FigureSpec("Networks against their price", 8, plot_students, find=find_best_network)
