"""Every option of a student, taught or on labels alone: the recommendation in one picture."""

import textwrap
from collections.abc import Sequence

import pandas as pd

from kdpipe.analysis.contest import KEY_COLUMNS, select_entrants
from kdpipe.analysis.dataframe import filter_rows, get_series_by_seed, group_rows
from kdpipe.analysis.recommendation import Recommendation
from kdpipe.report import style
from kdpipe.report.figure import (
    ERROR_LABEL,
    MAX_PANELS,
    FigureSpec,
    FigureWithCaption,
    describe_best,
)
from kdpipe.report.format import format_stop
from kdpipe.stats.intervals import summarize

MAX_OPTIONS = 24  # options in a panel
LINE_LENGTH = 36  # in a line of a name


def plot_options(
    frame: pd.DataFrame, curves: pd.DataFrame, recommendations: Sequence[Recommendation] = ()
) -> FigureWithCaption:
    """Draw a panel for each student, the lowest test error on top."""
    shipped = {
        one.student: tuple(one.shipped.entrant.key.values())
        for one in recommendations
        if one.shipped is not None
    }
    panels = [
        (key["contest"], rows, _collect_options(rows, shipped.get(key["contest"])))
        for key, rows in group_rows(select_entrants(frame), "contest")
    ]
    panels = [panel for panel in panels if panel[2]][:MAX_PANELS]
    if not panels:
        return None
    heights = [0.9 + _measure_rows(_select_visible(rows)) for *_, rows in panels]
    figure, axes = style.make_panels(len(panels), width=5.2, across=1, heights=heights)
    has_band = False
    for axis, (student, part, rows) in zip(axes, panels, strict=True):
        taught = filter_rows(part, side="taught")
        if taught.row_student.nunique() == 1:  # else each length and size has its own baseline
            has_band = True
            at_its_length = {"kind": "scratch", "student": taught.row_student.iloc[0]}
            scratch_errors = get_series_by_seed(filter_rows(frame, **at_its_length))
            label = "from scratch, as long as the student"
            style.plot_band(axis, scratch_errors, label, upright=True)
        visible = _select_visible(rows)
        sides = {"labels": ("scratch", "from scratch"), "taught": ("taught", "taught")}
        for kind, (role, label) in sides.items():
            points: list[tuple[pd.Series, float]] = [
                (errors, position)
                for position, (row_kind, _, errors, _, is_chosen) in enumerate(visible)
                if row_kind == kind and not is_chosen
            ]
            if points:
                style.plot_horizontal_ci(
                    axis, points, label, **style.ROLE_STYLES[role] | {"linestyle": ""}
                )
        for position, (_, _, errors, _, is_chosen) in enumerate(visible):
            if is_chosen:
                marker_style = {"color": style.SHIPPED_COLOR, "marker": "*", "markersize": 12}
                style.plot_horizontal_ci(
                    axis, [(errors, position)], "to ship", **marker_style, linestyle=""
                )
        stats = [summarize(errors) for _, _, errors, *_ in visible]
        style.scale_errors(axis, stats, along="x")
        style.mark_beyond(axis, [(s.mean, position) for position, s in enumerate(stats)])
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
    band = "the band is the student from scratch, " if has_band else ""
    return figure, (
        f"Every way of training, the lowest test error at the top; {band}the star shows what to "
        "ship, which was chosen on validation. The numbers on the right are the price of "
        "training, with all that it learned from, as a multiple of the cheapest run from "
        "scratch. Two ways can differ by seed even where their intervals overlap: A or B has the "
        "paired differences."
    )


OptionRow = tuple[
    str, str, pd.Series, float, bool
]  # kind, name, errors, price, whether it is chosen


def _collect_options(rows: pd.DataFrame, shipped: tuple | None) -> list[OptionRow]:
    """Return the ways of training one student, taught or not, by mean error."""
    labels = filter_rows(rows, side="labels")
    varied = {
        side: [c for c in ("epochs", "train_size") if filter_rows(rows, side=side)[c].nunique() > 1]
        for side in ("labels", "taught")
    }
    scratch_macs = labels.train_macs.min()
    entries: list[OptionRow] = []
    for key, cell in group_rows(rows, *KEY_COLUMNS):
        first_row, errors = cell.iloc[0], get_series_by_seed(cell)
        macs = [first_row.train_macs, first_row.teacher_macs, first_row.ancestor_macs]
        side, is_shipped = str(first_row.side), tuple(key.values()) == shipped
        name = _format_option(key, side, varied[side])
        entries.append((side, name, errors, pd.Series(macs).sum() / scratch_macs, is_shipped))
    entries = [row for row in entries if len(row[2])]
    return sorted(entries, key=lambda row: summarize(row[2]).mean)


def _select_visible(rows: list[OptionRow]) -> list[OptionRow]:
    """Return as many options as fit, the chosen one always among them."""
    if len(rows) <= MAX_OPTIONS:
        return rows
    chosen = [row for row in rows[MAX_OPTIONS - 1 :] if row[4]]
    return rows[: MAX_OPTIONS - len(chosen)] + chosen


def _format_option(key: dict, side: str, varied: list[str]) -> str:
    """Return what differs between options, as `wrn16-2, checkpoint 13, kd`."""
    if side == "labels":
        parts = [f"{key['student']} from scratch" if key["kind"] == "teacher" else "from scratch"]
    else:
        teacher = "itself" if key["teacher"] == key["student"] else key["teacher"]
        stop = "" if key["stop"] == "full" else format_stop(key["stop"])
        generation = f"generation {key['generation']:g}" if key["generation"] > 1 else ""
        via = f"through {key['via']}" if key["via"] else ""
        parts = [teacher, stop, via, key["method"], generation]
    if "epochs" in varied:
        parts.append(f"{key['epochs']:g} epochs")
    if "train_size" in varied and not parts[0].endswith(" images)"):
        parts.append(f"{key['train_size']:g} images")
    return ", ".join(part for part in parts if part)


def _measure_rows(rows: list[OptionRow]) -> float:
    """Return the height of the rows of a panel in inches: all are as high as the longest name."""
    most_lines = max(_wrap_label(name).count("\n") + 1 for _, name, *_ in rows)
    return max(0.27, 0.16 * most_lines + 0.04) * len(rows)


def _wrap_label(text: str) -> str:
    """Break a label into lines."""
    return "\n".join(textwrap.wrap(text, LINE_LENGTH))


def find_best_option(
    frame: pd.DataFrame, curves: pd.DataFrame, recommendations: Sequence[Recommendation] = ()
) -> str:
    """Return of each student which way of training has the lowest test error, if that is told."""
    texts = []
    for key, rows in list(group_rows(select_entrants(frame), "contest"))[:MAX_PANELS]:
        errors = {name: values for _, name, values, *_ in _collect_options(rows, None)}
        if text := describe_best(errors, "way"):
            texts.append(f"for {key['contest']} {text}")
    return "; ".join(texts)


FIGURE = FigureSpec(
    "Every option of a student",
    5,
    plot_options,
    shows_recommendations=True,
    find=find_best_option,
)
