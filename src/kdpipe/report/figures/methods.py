"""The field's methods side by side: a panel for each student, the best one on top."""

import re
import textwrap

import pandas as pd

from kdpipe.evidence.choices import Contender, contenders, plain
from kdpipe.evidence.selections import UNTRAINED, by_seed, direct, groups, networks, where
from kdpipe.learning.method import heading
from kdpipe.report import style
from kdpipe.report.figure import ERROR, Drawn, Figure, students_of
from kdpipe.statistics.intervals import summary

FEWEST = 3  # methods in a panel: two are no field
LETTERS = 24  # in a line of a name

Arms = dict[tuple[str, str], list[Contender]]  # by teacher and stop


def methods(frame: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
    taught = where(networks(direct(frame)), stop=["full", UNTRAINED])
    full = taught.method_kind.where(taught.stop == "full")
    students = students_of(taught.loc[full.groupby(taught.student).transform("nunique") >= FEWEST])
    if not students:
        return None
    panels = {student: _arms(part) for student, part in students}
    teachers = {teacher: i for i, teacher in enumerate(_teachers(panels))}
    rows = {student: _in_order(arms) for student, arms in panels.items()}
    most = max(map(len, rows.values()))
    height = 1.3 + most * (0.24 + 0.1 * len({key for arms in panels.values() for key in arms}))
    figure, axes = style.panels(len(panels), width=4.2, height=height)
    for axis, (student, arms) in zip(axes, panels.items(), strict=True):
        alone = by_seed(where(frame, kind="scratch", student=student))
        style.within(axis, alone, "scratch", upright=True)
        for i, ((teacher, stop), found) in enumerate(arms.items()):
            looks = style.look(teachers[teacher]) | {"linestyle": ""}
            kd = plain(found)
            if stop == UNTRAINED:
                looks |= {"markerfacecolor": "white"}
            elif kd is not None and len(kd.errors):
                line = {"color": looks["color"], "linestyle": "--", "linewidth": 1}
                axis.axvline(summary(kd.errors).mean, label=f"plain KD from {teacher}", **line)
            places = [rows[student][one.name] + (i - (len(arms) - 1) / 2) * 0.2 for one in found]
            points = [(one.errors, place) for one, place in zip(found, places, strict=True)]
            label = f"from {teacher}{', untrained' if stop == UNTRAINED else ''}"
            style.beside(axis, points, label, **looks)
        names = _names(arms)
        ticks = {place: names[name] for name, place in rows[student].items()}
        axis.set_yticks(list(ticks), list(ticks.values()))
        for tick, name in zip(axis.get_yticklabels(), rows[student], strict=True):
            tick.set_fontweight("bold" if name == "kd" else "normal")
        axis.set(title=student, xlabel=ERROR, ylim=(len(ticks) - 0.4, -0.6))
        axis.grid(axis="y", visible=False)
        _within_reach(axis, arms, alone, rows[student])
    style.legend(figure, axes)
    control = any(stop == UNTRAINED for arms in panels.values() for _, stop in arms)
    return figure, (
        "Every method at the setting that validation chose, the lowest error on top; the band is "
        "the student on labels alone, the dashed line plain KD (bold)."
        + (" Open: the teacher is untrained, a control (far out: an arrow)." if control else "")
        + " Intervals that overlap can hide a paired difference: the table of the methods has them."
    )


def _within_reach(axis, arms: Arms, alone: pd.Series, places: dict[str, int]) -> None:
    """Let the controls not set the scale: one that is far out is an arrow with its error."""
    taught = [one.errors for (_, stop), found in arms.items() if stop != UNTRAINED for one in found]
    known = [s for s in map(summary, [alone, *taught]) if s.n]
    if not known or not any(stop == UNTRAINED for _, stop in arms):
        return
    ends = [end for s in known for end in (s.low, s.high, s.mean) if end == end]
    low, high = min(ends), max(ends)
    left, right = low - 0.08 * (high - low), high + 0.25 * (high - low)
    axis.set_xlim(max(0, left), right)
    for i, ((_, stop), found) in enumerate(arms.items()):
        for one in found if stop == UNTRAINED else ():
            mean = summary(one.errors).mean
            if mean > right:
                place = places[one.name] + (i - (len(arms) - 1) / 2) * 0.2
                looks = {"fontsize": 8, "bbox": {"color": "white", "pad": 1}}
                axis.text(right, place, f"{mean:.0f} \u2192 ", ha="right", va="center", **looks)


def _arms(part: pd.DataFrame) -> Arms:
    cells = groups(part, "teacher", "stop")
    return {(key["teacher"], key["stop"]): contenders(cell) for key, cell in cells}


def _teachers(panels: dict[str, Arms]) -> list[str]:
    """The same in every panel: one legend serves them all."""
    return list(dict.fromkeys(teacher for arms in panels.values() for teacher, _ in arms))


def _in_order(arms: Arms) -> dict[str, int]:
    """A place for each method: by its mean error from full teachers, then the others."""
    full: dict[str, list[float]] = {}
    for (_, stop), found in arms.items():
        for one in found:
            known = full.setdefault(one.name, [])
            known += list(one.errors) if stop == "full" else []
    means = {
        name: sum(known) / len(known) if known else float("inf") for name, known in full.items()
    }
    return {name: place for place, name in enumerate(sorted(means, key=lambda name: means[name]))}


def _names(arms: Arms) -> dict[str, str]:
    """What stands at the axis: the label of a method; its kind where it has several settings."""
    labels: dict[str, set[str]] = {}
    for found in arms.values():
        for one in found:
            labels.setdefault(one.name, set()).update(one.tried)
    named = {n: next(iter(own)) if len(own) == 1 else heading(n) for n, own in labels.items()}
    return {name: _wrapped(text) for name, text in named.items()}


def _wrapped(text: str) -> str:
    """In lines that break at spaces, hyphens and underscores."""
    lines = textwrap.wrap(re.sub("_(?=.)", "_ ", text), LETTERS)
    return "\n".join(line.replace("_ ", "_") for line in lines)


FIGURE = Figure("Methods", 35, methods)
