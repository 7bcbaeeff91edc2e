"""Every option of a student beside labels alone: the recommendation in one picture."""

import textwrap

import pandas as pd

from kdpipe.analysis.dataframe import filter_rows, get_series_by_seed, group_rows
from kdpipe.analysis.recommendation import (
    OPTION_COLUMNS,
    find_best_option,
    pivot_option_errors,
    select_terminal_students,
)
from kdpipe.report import style
from kdpipe.report.figure import ERROR_LABEL, FigureSpec, FigureWithCaption, group_by_student
from kdpipe.report.format import format_stop
from kdpipe.stats.intervals import summarize

MAX_OPTIONS = 24  # options in a panel
LINE_LENGTH = 44  # in a line of a name


def plot_options(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw a panel for each student, the lowest test error on top."""
    panels = [
        (student, _collect_options(frame, student, part))
        for student, part in group_by_student(select_terminal_students(frame))
    ]
    panels = [(student, rows) for student, rows in panels if rows]
    if not panels:
        return None
    heights = [0.9 + 0.27 * min(len(rows), MAX_OPTIONS) for _, rows in panels]
    figure, axes = style.make_panels(len(panels), width=6.4, across=1, heights=heights)
    for axis, (student, rows) in zip(axes, panels, strict=True):
        scratch_errors = get_series_by_seed(filter_rows(frame, kind="scratch", student=student))
        style.plot_band(axis, scratch_errors, "from scratch, as long as the student", upright=True)
        visible = _select_visible(rows)
        for i, (kind, label) in enumerate((("taught", "taught"), ("scratch", "from scratch"))):
            points: list[tuple[pd.Series, float]] = [
                (errors, position)
                for position, (row_kind, _, errors, _, is_chosen) in enumerate(visible)
                if row_kind == kind and not is_chosen
            ]
            if points:
                style.plot_horizontal_ci(
                    axis, points, label, **style.get_series_style(i) | {"linestyle": ""}
                )
        for position, (_, _, errors, _, is_chosen) in enumerate(visible):
            if is_chosen:
                marker_style = {"color": style.COLORS[0], "marker": "*", "markersize": 12}
                style.plot_horizontal_ci(
                    axis, [(errors, position)], "chosen on validation", **marker_style, linestyle=""
                )
        names = [_wrap_label(name) for _, name, *_ in visible]
        axis.set_yticks(range(len(names)), names)
        for tick, (*_, is_chosen) in zip(axis.get_yticklabels(), visible, strict=True):
            tick.set_fontweight("bold" if is_chosen else "normal")
        for position, (_, _, _, price, _) in enumerate(visible):
            if price == price:  # not nan
                text_args = {"transform": axis.get_yaxis_transform(), "va": "center"}
                axis.text(1.01, position, f"{price:.3g} x", fontsize=8, **text_args)
        left_out = len(rows) - len(visible)
        count_note = (
            f" (the {len(visible)} with the lowest errors of {len(rows)})" if left_out else ""
        )
        axis.set(title=f"{student}{count_note}", ylim=(len(visible) - 0.4, -0.6))
        axis.grid(axis="y", visible=False)
    axes[-1].set_xlabel(ERROR_LABEL)
    style.add_legend(figure, axes)
    return figure, (
        "Every option, the lowest test error on top; the band is the student from scratch, the "
        "star the choice by validation. At the right what training it took, with all that it "
        "learned from, as a multiple of scratch. Intervals that overlap can hide a paired "
        "difference: those stand under A or B."
    )


OptionRow = tuple[
    str, str, pd.Series, float, bool
]  # kind, name, errors, price, whether it is chosen


def _collect_options(frame: pd.DataFrame, student: str, part: pd.DataFrame) -> list[OptionRow]:
    """Return the options of a student and scratch of every length, by mean error."""
    validation, _ = pivot_option_errors(part)
    best = find_best_option(validation)
    scratch = filter_rows(frame, kind="scratch", student=student)
    scratch_macs = scratch.train_macs.max()
    entries: list[OptionRow] = [
        ("scratch", "from scratch", get_series_by_seed(scratch), 1.0, False)
    ]
    for key, cell in group_rows(part, *OPTION_COLUMNS):
        first_row = cell.iloc[0]
        price = (
            first_row.train_macs + first_row.teacher_macs + first_row.ancestor_macs
        ) / scratch_macs
        entries.append(
            (
                "taught",
                _format_option(key, student),
                get_series_by_seed(cell),
                price,
                tuple(key.values()) == best,
            )
        )
    longer = filter_rows(frame, kind="scratch_long", student=student)
    for key, cell in group_rows(longer, "epochs"):
        price = cell.train_macs.iloc[0] / scratch_macs
        name = f"from scratch, {key['epochs']:g} epochs"
        entries.append(("scratch", name, get_series_by_seed(cell), price, False))
    entries = [row for row in entries if len(row[2])]
    return sorted(entries, key=lambda row: summarize(row[2]).mean)


def _select_visible(rows: list[OptionRow]) -> list[OptionRow]:
    """Return as many options as fit, the chosen one always among them."""
    if len(rows) <= MAX_OPTIONS:
        return rows
    chosen = [row for row in rows[MAX_OPTIONS - 1 :] if row[4]]
    return rows[: MAX_OPTIONS - len(chosen)] + chosen


def _format_option(key: dict, student: str) -> str:
    """Return what differs between options, as `wrn16-2, checkpoint 13, kd`."""
    teacher = "itself" if key["teacher"] == student else key["teacher"]
    stop = "" if key["stop"] == "full" else format_stop(key["stop"])
    generation = f"generation {key['generation']:g}" if key["generation"] > 1 else ""
    via = f"through {key['via']}" if key["via"] else ""
    return ", ".join(part for part in (teacher, stop, via, key["method"], generation) if part)


def _wrap_label(text: str) -> str:
    """Break a label into lines."""
    return "\n".join(textwrap.wrap(text, LINE_LENGTH))


FIGURE = FigureSpec("Every option of a student", 5, plot_options)
