"""Every option of a student beside labels alone: the answer as one picture."""

import textwrap

import pandas as pd

from kdpipe.evidence.advice.answer import OPTION, ends, options, preferred
from kdpipe.evidence.selections import by_seed, groups, where
from kdpipe.report import style
from kdpipe.report.figure import ERROR, Drawn, Figure, students_of
from kdpipe.report.text import stop_of
from kdpipe.statistics.intervals import Summary, summary

MOST = 24  # options in a panel
LETTERS = 44  # in a line of a name


def options_of(frame: pd.DataFrame, curves: pd.DataFrame) -> Drawn:
    panels = [(student, _rows(frame, student, part)) for student, part in students_of(ends(frame))]
    panels = [(student, rows) for student, rows in panels if rows]
    if not panels:
        return None
    heights = [0.9 + 0.27 * min(len(rows), MOST) for _, rows in panels]
    figure, axes = style.panels(len(panels), width=6.4, across=1, heights=heights)
    for axis, (student, rows) in zip(axes, panels, strict=True):
        alone = by_seed(where(frame, kind="scratch", student=student))
        style.within(axis, alone, "from scratch, as long as the student", upright=True)
        shown = _shown(rows)
        for i, (kind, label) in enumerate((("taught", "taught"), ("scratch", "from scratch"))):
            points: list[tuple[pd.Series, float]] = [
                (errors, place)
                for place, (what, _, errors, _, is_chosen) in enumerate(shown)
                if what == kind and not is_chosen
            ]
            if points:
                style.beside(axis, points, label, **style.look(i) | {"linestyle": ""})
        for place, (_, _, errors, _, is_chosen) in enumerate(shown):
            if is_chosen:
                looks = {"color": style.COLOURS[0], "marker": "*", "markersize": 12}
                style.beside(axis, [(errors, place)], "chosen on validation", **looks, linestyle="")
        names = [_wrapped(name) for _, name, *_ in shown]
        axis.set_yticks(range(len(names)), names)
        for tick, (*_, is_chosen) in zip(axis.get_yticklabels(), shown, strict=True):
            tick.set_fontweight("bold" if is_chosen else "normal")
        for place, (_, _, _, price, _) in enumerate(shown):
            if price == price:  # not nan
                where_at = {"transform": axis.get_yaxis_transform(), "va": "center"}
                axis.text(1.01, place, f"{price:.3g} x", fontsize=8, **where_at)
        left_out = len(rows) - len(shown)
        more = f" (the {len(shown)} with the lowest errors of {len(rows)})" if left_out else ""
        axis.set(title=f"{student}{more}", ylim=(len(shown) - 0.4, -0.6))
        axis.grid(axis="y", visible=False)
    axes[-1].set_xlabel(ERROR)
    style.legend(figure, axes)
    return figure, (
        "Every option, the lowest test error on top; the band is the student from scratch, the "
        "star the choice by validation. At the right what training it took, with all that it "
        "learned from, as a multiple of scratch. Intervals that overlap can hide a paired "
        "difference: those stand under A or B."
    )


Row = tuple[str, str, pd.Series, float, bool]  # kind, name, errors, price, whether it is chosen


def _rows(frame: pd.DataFrame, student: str, part: pd.DataFrame) -> list[Row]:
    """The options by their mean error, and scratch of every length among them."""
    validation, _ = options(part)
    best = preferred(validation)
    scratch = where(frame, kind="scratch", student=student)
    alone = scratch.train_macs.max()
    found: list[Row] = [("scratch", "from scratch", by_seed(scratch), 1.0, False)]
    for key, cell in groups(part, *OPTION):
        one = cell.iloc[0]
        price = (one.train_macs + one.teacher_macs + one.ancestor_macs) / alone
        found.append(
            ("taught", _name(key, student), by_seed(cell), price, tuple(key.values()) == best)
        )
    longer = where(frame, kind="scratch_long", student=student)
    for key, cell in groups(longer, "epochs"):
        price = cell.train_macs.iloc[0] / alone
        name = f"from scratch, {key['epochs']:g} epochs"
        found.append(("scratch", name, by_seed(cell), price, False))
    found = [row for row in found if len(row[2])]
    return sorted(found, key=lambda row: _mean(row).mean)


def _shown(rows: list[Row]) -> list[Row]:
    """As many as have a place, the chosen one always among them."""
    if len(rows) <= MOST:
        return rows
    chosen = [row for row in rows[MOST - 1 :] if row[4]]
    return rows[: MOST - len(chosen)] + chosen


def _mean(row: Row) -> Summary:
    return summary(row[2])


def _name(key: dict, student: str) -> str:
    """`wrn16-2, checkpoint 13, kd`: what differs between options."""
    teacher = "itself" if key["teacher"] == student else key["teacher"]
    stop = "" if key["stop"] == "full" else stop_of(key["stop"])
    often = f"generation {key['generation']:g}" if key["generation"] > 1 else ""
    via = f"through {key['via']}" if key["via"] else ""
    return ", ".join(part for part in (teacher, stop, via, key["method"], often) if part)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, LETTERS))


FIGURE = Figure("Every option of a student", 5, options_of)
