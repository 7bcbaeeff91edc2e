"""Chains and generations as a graph: networks in a line, each with its error.

There is one line for each path of a method, from the teacher at its head to the last student, so
that a chain stands above the single step it is compared with.
"""

import textwrap

import pandas as pd

from kdpipe.analysis.dataframe import PATH_SEPARATOR, filter_rows, get_series_by_seed, group_rows
from kdpipe.report import style
from kdpipe.report.figure import FigureSpec, FigureWithCaption, count_marks
from kdpipe.report.format import format_estimate
from kdpipe.stats.intervals import summarize
from kdpipe.text import format_count

MAX_PATHS = 14  # rows
LINE_LENGTH = 15  # in a line of a name


def plot_paths(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw every path of more than one step, and its direct counterpart."""
    lines = _collect_paths(frame)
    if not lines:
        return None
    longest = max(len(nodes) for _, nodes in lines)
    lines = [
        (method, [(textwrap.fill(name, LINE_LENGTH), error) for name, error in nodes])
        for method, nodes in lines
    ]
    row_height = 0.62 if all("\n" not in n for _, nodes in lines for n, _ in nodes) else 0.9
    figure, (axis,) = style.make_panels(
        1, width=max(4.6, 1.1 * (longest + 0.5)), height=row_height * len(lines) + 0.5
    )
    axis.set(xlim=(-0.9, longest - 0.4), ylim=(len(lines) - 0.4, -0.6))
    axis.set_axis_off()
    for y, (method, nodes) in enumerate(lines):
        axis.text(-0.85, y, method, va="center", fontsize=8, style="italic")
        for x, (name, error) in enumerate(nodes):
            box = {
                "boxstyle": "round,pad=0.35",
                "facecolor": "white",
                "edgecolor": style.ROLE_STYLES["taught"]["color"],
            }
            if x == 0:
                box |= {"edgecolor": style.ROLE_STYLES["teacher"]["color"], "linestyle": "--"}
            axis.text(x, y, f"{name}\n{error}", ha="center", va="center", fontsize=8, bbox=box)
            if x:
                arrow = {"arrowstyle": "->", "color": "#555555", "shrinkA": 36, "shrinkB": 36}
                axis.annotate("", (x, y), (x - 1, y), arrowprops=arrow)
    return figure, (
        "Each row is a path, from the teacher (dashed) to the last student, with top-1 errors in "
        "%; the method stands to the left."
    )


def _collect_paths(frame: pd.DataFrame) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return method and nodes (name, error) of each path."""
    students = filter_rows(frame, kind="student")
    lines = {}
    for (block, teacher, stop, method, student, via), last in _collect_ends(students).items():
        block_students = filter_rows(students, block=block, teacher=teacher, stop=stop)
        # Networks on the way have the student's length and number of images.
        axes = student.removeprefix(last.student_network.iloc[0])
        nodes = [_describe_teacher(last)]
        steps = method.split(PATH_SEPARATOR)
        medium = via.split(PATH_SEPARATOR) if via else []
        for i, network in enumerate(medium):
            part = PATH_SEPARATOR.join(dict.fromkeys(steps[: i + 1])) if len(steps) > 1 else method
            name, before = f"{network}{axes}", PATH_SEPARATOR.join(medium[:i])
            cell = filter_rows(block_students, student=name, via=before, method=part)
            nodes.append((name, _format_error(get_series_by_seed(cell))))
        for generation in range(1, int(last.generation.max()) + 1):
            cell = filter_rows(
                block_students, student=student, via=via, method=method, generation=generation
            )
            nodes.append((student, _format_error(get_series_by_seed(cell))))
        if via:
            direct_cell = filter_rows(
                block_students, student=student, via="", method=steps[-1], generation=1
            )
            lines.setdefault(
                (
                    steps[-1],
                    tuple(
                        [
                            _describe_teacher(last),
                            (student, _format_error(get_series_by_seed(direct_cell))),
                        ]
                    ),
                )
            )
        lines.setdefault((method, tuple(nodes)))
    return [(method, list(nodes)) for method, nodes in lines][:MAX_PATHS]


def _collect_ends(students: pd.DataFrame) -> dict[tuple, pd.DataFrame]:
    """Return the last students of the paths of more than one step.

    Each by its block, teacher, stop, method, name and the networks on its way.
    """
    longer = students.loc[(students.via != "") | (students.generation > 1)]
    ends = {}
    for key, cells in group_rows(longer, "block", "teacher", "stop", "method", "student", "via"):
        last = filter_rows(cells, generation=cells.generation.max())
        if _is_end(last, longer):
            ends[tuple(key.values())] = last
    return ends


def find_better_paths(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return in how many paths the last student is better and worse than after a single step."""
    students = filter_rows(frame, kind="student")
    differences = {}
    for (_, teacher, stop, method, student, via), last in _collect_ends(students).items():
        step = {"teacher": teacher, "stop": stop, "student": student, "via": "", "generation": 1}
        single = filter_rows(students, method=method.split(PATH_SEPARATOR)[-1], **step)
        single = single.drop_duplicates("seed")
        if len(single):
            path = (teacher, stop, method, student, via)  # several blocks may have it
            differences[path] = get_series_by_seed(last) - get_series_by_seed(single)
    better, worse = count_marks(differences.values())
    if not differences:
        return ""
    count = format_count(len(differences), "path")
    if not better and not worse:
        return f"no difference to a single step can be told in {count}"
    return f"better than a single step in {better}, worse in {worse} of {count}"


def _is_end(last: pd.DataFrame, longer: pd.DataFrame) -> bool:
    """Return whether no longer path goes through this cell."""
    row = last.iloc[0]
    network = row.student_network
    through = f"{row.via}{PATH_SEPARATOR}{network}" if row.via else network
    axes = row.student.removeprefix(network)
    beyond = filter_rows(longer, block=row.block, teacher=row.teacher, stop=row.stop)
    beyond = beyond.loc[beyond.student == beyond.student_network + axes]
    return not (beyond.via + PATH_SEPARATOR).str.startswith(through + PATH_SEPARATOR).any()


def _describe_teacher(cell: pd.DataFrame) -> tuple[str, str]:
    """Return the name of a teacher with its stop, and its error."""
    row = cell.iloc[0]
    stop = "" if row.stop == "full" else f", {row.stop}"
    errors = cell.drop_duplicates("seed").set_index("seed").teacher_test_error.dropna()
    return f"{row.teacher}{stop}", _format_error(errors)


def _format_error(errors: pd.Series) -> str:
    """Return a mean error in %."""
    s = summarize(errors)
    return f"{format_estimate(s.mean, s.half_width)} %" if s.n else "no result"


FIGURE = FigureSpec("Chains and generations", 90, plot_paths, find=find_better_paths)
