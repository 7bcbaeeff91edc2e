"""Chains and generations as a graph: networks in a row, the error of each below its name.

One row for each path of a method, from the teacher at its head to the last student, so a chain
stands above the single step it is compared with.
"""

import pandas as pd

from kdpipe.evidence.selections import STEP, by_seed, groups, where
from kdpipe.report import style
from kdpipe.report.figure import Drawn, Figure
from kdpipe.report.text import rounded
from kdpipe.statistics.intervals import summary

MOST = 14  # rows


def paths(frame: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
    """A figure of every path of more than one step, and its direct counterpart."""
    lines = _lines(frame)
    if not lines:
        return None
    longest = max(len(nodes) for _, nodes in lines)
    figure, (axis,) = style.panels(
        1, width=max(5.2, 1.05 * longest), height=0.62 * len(lines) + 0.5
    )
    axis.set(xlim=(-0.9, longest - 0.4), ylim=(len(lines) - 0.4, -0.6))
    axis.set_axis_off()
    for y, (method, nodes) in enumerate(lines):
        axis.text(-0.85, y, method, va="center", fontsize=8, style="italic")
        for x, (name, error) in enumerate(nodes):
            box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "#0072B2"}
            if x == 0:
                box |= {"edgecolor": "#D55E00", "linestyle": "--"}
            axis.text(x, y, f"{name}\n{error}", ha="center", va="center", fontsize=8, bbox=box)
            if x:
                arrow = {"arrowstyle": "->", "color": "#555555", "shrinkA": 36, "shrinkB": 36}
                axis.annotate("", (x, y), (x - 1, y), arrowprops=arrow)
    return figure, (
        "Each row is a path, from the teacher (dashed) to the last student, with top-1 errors in "
        "%; the method stands to the left."
    )


def _lines(frame: pd.DataFrame) -> list[tuple[str, list[tuple[str, str]]]]:
    students = where(frame, kind="student")
    longer = students.loc[(students.via != "") | (students.generation > 1)]
    ends = {}
    for key, cells in groups(longer, "block", "teacher", "stop", "method", "student", "via"):
        last = where(cells, generation=cells.generation.max())
        if _is_end(last, longer):
            ends[tuple(key.values())] = last
    lines = {}
    for (block, teacher, stop, method, student, via), last in ends.items():
        here = where(students, block=block, teacher=teacher, stop=stop)
        nodes = [_head(last)]
        steps = method.split(STEP)
        medium = via.split(STEP) if via else []
        for i, network in enumerate(medium):
            part = STEP.join(dict.fromkeys(steps[: i + 1])) if len(steps) > 1 else method
            cell = where(here, student=network, via=STEP.join(medium[:i]), method=part)
            nodes.append((network, _error(by_seed(cell))))
        for generation in range(1, int(last.generation.max()) + 1):
            cell = where(here, student=student, via=via, method=method, generation=generation)
            nodes.append((student, _error(by_seed(cell))))
        if via:
            straight = where(here, student=student, via="", method=steps[-1], generation=1)
            lines.setdefault(
                (steps[-1], tuple([_head(last), (student, _error(by_seed(straight)))]))
            )
        lines.setdefault((method, tuple(nodes)))
    return [(method, list(nodes)) for method, nodes in lines][:MOST]


def _is_end(last: pd.DataFrame, longer: pd.DataFrame) -> bool:
    """Whether no longer path goes through this cell."""
    row = last.iloc[0]
    through = f"{row.via}{STEP}{row.student}" if row.via else row.student
    beyond = where(longer, block=row.block, teacher=row.teacher, stop=row.stop)
    return not (beyond.via + STEP).str.startswith(through + STEP).any()


def _head(cell: pd.DataFrame) -> tuple[str, str]:
    row = cell.iloc[0]
    stop = "" if row.stop == "full" else f", {row.stop}"
    errors = cell.drop_duplicates("seed").set_index("seed").teacher_test_error.dropna()
    return f"{row.teacher}{stop}", _error(errors)


def _error(errors: pd.Series) -> str:
    s = summary(errors)
    return f"{rounded(s.mean, s.half_width)} %" if s.n else "no result"


FIGURE = Figure("Chains and generations", 90, paths)
