"""Students and teachers against what an image costs them: which network to take at all."""

from matplotlib.ticker import LogLocator, NullLocator

from kdpipe.evidence.advice.answer import ends, options, preferred
from kdpipe.evidence.selections import by_seed, groups, networks, where
from kdpipe.report import style
from kdpipe.report.figure import ERROR, Drawn, Figure
from kdpipe.report.text import short
from kdpipe.statistics.intervals import Summary, summary

FEWEST = 2  # networks: of one there is nothing to compare

Points = list[tuple[str, float, Summary]]  # network, multiply-adds of an image, errors


def students(frame, curves) -> Drawn:
    taught: Points = []
    for key, rows in groups(ends(frame), "student"):
        validation, test = options(rows)
        if (best := preferred(validation)) is not None:
            errors = test[best].astype(float)
            taught.append((key["student"], rows.multiply_adds.max(), summary(errors)))
    alone = _alone(where(frame, kind="scratch"), "student")
    teachers = _alone(where(networks(frame), kind="teacher", stop_kind="full"), "teacher")
    also = {name for name, *_ in alone}  # as a teacher such a network is its run from scratch
    kinds = {
        "from scratch": alone,
        "taught, as validation chose": taught,
        "teacher": [one for one in teachers if one[0] not in also],
    }
    named = {name: cost for points in kinds.values() for name, cost, _ in points}
    if not taught or len(named) < FEWEST:
        return None
    figure, (axis,) = style.panels(1, width=3.4, height=4.2)
    for i, (label, points) in enumerate(kinds.items()):
        beside = style.aside(i, len(kinds))
        places = [(summary([cost * beside]), s) for _, cost, s in points if s.n]
        if places:
            style.cloud(axis, places, label, **style.look(i))
    for name, cost in named.items():
        known = [s.mean for points in kinds.values() for one, _, s in points if one == name and s.n]
        if known:
            looks = {"textcoords": "offset points", "xytext": (7, 0), "va": "center", "fontsize": 8}
            axis.annotate(name, (cost, sum(known) / len(known)), **looks)
    axis.set(xscale="log", xlabel="multiply-adds for one image", ylabel=ERROR)
    wide = max(named.values()) / min(named.values())
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if wide < 30 else (1, 3)))
    axis.xaxis.set_major_formatter(lambda number, _: short(number))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.margins(x=0.15)
    style.legend(figure, [axis])
    return (
        figure,
        "Each network at its price: from scratch, taught as validation chose, as teacher.",
    )


def _alone(rows, name: str) -> Points:
    """The networks that learned from labels, by the column that names them."""
    return [
        (key[name], cell.multiply_adds.max(), summary(by_seed(cell).astype(float)))
        for key, cell in groups(rows, name)
    ]


FIGURE = Figure("Networks against their price", 8, students)
