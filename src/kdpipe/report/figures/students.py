"""Students and teachers against what an image costs them: which network to take at all."""

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
from kdpipe.report.figure import ERROR_LABEL, FigureSpec, FigureWithCaption
from kdpipe.report.format import format_si
from kdpipe.stats.intervals import Summary, summarize

MIN_NETWORKS = 2  # networks: of one there is nothing to compare

Points = list[tuple[str, float, Summary]]  # network, multiply-adds of an image, errors


def plot_students(frame, curves) -> FigureWithCaption:
    """Draw every network from scratch, distilled and as a teacher."""
    distilled: Points = []
    for key, rows in group_rows(select_terminal_students(frame), "student"):
        validation, test = pivot_option_errors(rows)
        if (best := find_best_option(validation)) is not None:
            errors = test[best].astype(float)
            distilled.append((key["student"], rows.multiply_adds.max(), summarize(errors)))
    scratch = _collect_points(filter_rows(frame, kind="scratch"), "student")
    teachers = _collect_points(
        filter_rows(select_label_trained_teachers(frame), kind="teacher", stop_kind="full"),
        "teacher",
    )
    scratch_names = {
        name for name, *_ in scratch
    }  # as a teacher such a network is its run from scratch
    kinds = {
        "scratch": scratch,
        "taught": distilled,
        "teacher": [item for item in teachers if item[0] not in scratch_names],
    }
    labels = {"scratch": "from scratch", "taught": "taught, as validation chose"}
    costs = {name: cost for points in kinds.values() for name, cost, _ in points}
    if not distilled or len(costs) < MIN_NETWORKS:
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


def _collect_points(rows, name: str) -> Points:
    """Return the networks that learned from labels, by the column that names them."""
    return [
        (key[name], cell.multiply_adds.max(), summarize(get_series_by_seed(cell).astype(float)))
        for key, cell in group_rows(rows, name)
    ]


FIGURE = FigureSpec("Networks against their price", 8, plot_students)
