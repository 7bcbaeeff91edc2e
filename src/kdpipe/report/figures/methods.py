"""The methods of the field side by side: a panel for each student, the best one on top."""

import re
import textwrap

import pandas as pd

from kdpipe.analysis.dataframe import (
    UNTRAINED_STOP,
    filter_rows,
    get_series_by_seed,
    group_rows,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.analysis.selection import MethodArm, build_method_arms, find_plain_kd
from kdpipe.losses.method import short_label
from kdpipe.report import style
from kdpipe.report.figure import (
    ERROR_LABEL,
    FigureSpec,
    FigureWithCaption,
    assign_teacher_styles,
    describe_best,
    group_by_student,
)
from kdpipe.stats.intervals import summarize

MIN_METHODS = 3  # methods in a panel: two are no field
LINE_LENGTH = 24  # in a line of a name

Arms = dict[tuple[str, str], list[MethodArm]]  # by teacher and stop


def plot_methods(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw the methods of each student that has enough of them."""
    student_rows = filter_rows(
        select_label_trained_teachers(select_direct_students(frame)), stop=["full", UNTRAINED_STOP]
    )
    full = student_rows.method_kind.where(student_rows.stop == "full")
    students = group_by_student(
        student_rows.loc[full.groupby(student_rows.student).transform("nunique") >= MIN_METHODS]
    )
    if not students:
        return None
    panels = {student: _collect_arms(part) for student, part in students}
    teachers = assign_teacher_styles(frame)
    rows = {student: _order_methods(arms) for student, arms in panels.items()}
    max_rows = max(map(len, rows.values()))
    height = 1.3 + max_rows * (0.24 + 0.1 * len({key for arms in panels.values() for key in arms}))
    figure, axes = style.make_panels(len(panels), width=4.2, height=height)
    for axis, (student, arms) in zip(axes, panels.items(), strict=True):
        scratch = get_series_by_seed(filter_rows(frame, kind="scratch", student=student))
        style.plot_band(axis, scratch, "scratch", upright=True)
        for i, ((teacher, stop), method_arms) in enumerate(arms.items()):
            style_args = teachers[teacher] | {"linestyle": ""}
            kd = find_plain_kd(method_arms)
            if stop == UNTRAINED_STOP:
                style_args |= {"markerfacecolor": "white"}
            elif kd is not None and len(kd.errors):
                line = {"color": style_args["color"], "linestyle": "--", "linewidth": 1}
                axis.axvline(summarize(kd.errors).mean, zorder=0, **line)
            positions = [
                rows[student][arm.name] + (i - (len(arms) - 1) / 2) * 0.2 for arm in method_arms
            ]
            points = [
                (arm.errors, position) for arm, position in zip(method_arms, positions, strict=True)
            ]
            label = f"from {teacher}{', untrained' if stop == UNTRAINED_STOP else ''}"
            style.plot_horizontal_ci(axis, points, label, **style_args)
        names = _label_methods(arms)
        ticks = {position: names[name] for name, position in rows[student].items()}
        axis.set_yticks(list(ticks), list(ticks.values()))
        for tick, name in zip(axis.get_yticklabels(), rows[student], strict=True):
            tick.set_fontweight("bold" if name == "kd" else "normal")
        axis.set(title=student, xlabel=ERROR_LABEL, ylim=(len(ticks) - 0.4, -0.6))
        axis.grid(axis="y", visible=False)
        _clip_controls(axis, arms, scratch, rows[student])
    style.add_legend(figure, axes)
    control = any(stop == UNTRAINED_STOP for arms in panels.values() for _, stop in arms)
    return figure, (
        "Every method at the setting that validation chose, the lowest error on top; the band is "
        "the student on labels alone, a dashed line plain KD (bold) from the teacher of its color."
        + (" Open: the teacher is untrained, a control (far out: an arrow)." if control else "")
        + " Intervals that overlap can hide a paired difference: the table of the methods has them."
    )


def _clip_controls(axis, arms: Arms, scratch: pd.Series, positions: dict[str, int]) -> None:
    """Keep controls from setting the scale: one that is far out is an arrow with its error."""
    trained = [
        arm.errors
        for (_, stop), method_arms in arms.items()
        if stop != UNTRAINED_STOP
        for arm in method_arms
    ]
    stats = [s for s in map(summarize, [scratch, *trained]) if s.n]
    if not stats or not any(stop == UNTRAINED_STOP for _, stop in arms):
        return
    ends = [end for s in stats for end in (s.low, s.high, s.mean) if end == end]
    low, high = min(ends), max(ends)
    left, right = low - 0.08 * (high - low), high + 0.25 * (high - low)
    axis.set_xlim(max(0, left), right)
    for i, ((_, stop), method_arms) in enumerate(arms.items()):
        for arm in method_arms if stop == UNTRAINED_STOP else ():
            mean = summarize(arm.errors).mean
            if mean > right:
                position = positions[arm.name] + (i - (len(arms) - 1) / 2) * 0.2
                text_style = {"fontsize": 8, "bbox": {"color": "white", "pad": 1}}
                axis.text(
                    right, position, f"{mean:.0f} \u2192 ", ha="right", va="center", **text_style
                )


def _collect_arms(part: pd.DataFrame) -> Arms:
    """Return the methods of one student, by teacher and stop."""
    cells = group_rows(part, "teacher", "stop")
    return {(key["teacher"], key["stop"]): build_method_arms(cell) for key, cell in cells}


def _order_methods(arms: Arms) -> dict[str, int]:
    """Return the position of each method: by its mean error from full teachers."""
    full: dict[str, list[float]] = {}
    for (_, stop), method_arms in arms.items():
        for arm in method_arms:
            errors = full.setdefault(arm.name, [])
            errors += list(arm.errors) if stop == "full" else []
    mean_errors = {
        name: sum(errors) / len(errors) if errors else float("inf") for name, errors in full.items()
    }
    return {
        name: position
        for position, name in enumerate(sorted(mean_errors, key=lambda name: mean_errors[name]))
    }


def _label_methods(arms: Arms) -> dict[str, str]:
    """Return the label of each method; its kind where it has several settings."""
    labels: dict[str, set[str]] = {}
    for method_arms in arms.values():
        for arm in method_arms:
            labels.setdefault(arm.name, set()).update(arm.settings)
    texts = {
        n: next(iter(settings)) if len(settings) == 1 else short_label(n)
        for n, settings in labels.items()
    }
    return {name: _wrap_label(text) for name, text in texts.items()}


def _wrap_label(text: str) -> str:
    """Break a label into lines, at spaces, hyphens and underscores."""
    lines = textwrap.wrap(re.sub("_(?=.)", "_ ", text), LINE_LENGTH)
    return "\n".join(line.replace("_ ", "_") for line in lines)


def find_best_method(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return which method is best for each student and full teacher that has enough of them."""
    rows = select_label_trained_teachers(select_direct_students(frame))
    texts = []
    for key, part in group_rows(filter_rows(rows, stop="full"), "student", "teacher"):
        errors = {arm.name: arm.errors for arm in build_method_arms(part)}
        if len(errors) >= MIN_METHODS and (text := describe_best(errors, "method")):
            texts.append(f"for {key['student']} from {key['teacher']} {text}")
    return "; ".join(texts[:2])


FIGURE = FigureSpec("Methods", 35, plot_methods, find=find_best_method)
