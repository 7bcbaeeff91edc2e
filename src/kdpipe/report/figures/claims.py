"""Forest plot of the claims: contrasts, their intervals, and the zone of the smallest effect."""

import math
import textwrap
from collections import Counter
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from kdpipe.analysis.claim import VERDICTS, Verdict
from kdpipe.report import style
from kdpipe.report.figure import Analysis, FigureSpec, FigureWithCaption

MAX_CONTRASTS = 4  # rows of one claim
LIMIT = 6.0  # smallest effects, where the axis ends
LINE_LENGTH = 46  # in a line of a claim
MARKS: dict[str, str] = dict(zip(VERDICTS, "\u2713\u2717\u2248?-", strict=True))
MARKERS: dict[str, str] = dict(zip(VERDICTS, "oXsoo", strict=True))
SAYS_NOTHING = ("cannot tell", "not tested")  # verdicts whose marks are open

Row = tuple[Verdict, dict[str, Any]]  # a verdict, and one of its contrasts as claims.json has it


def plot_claims(frame: pd.DataFrame, curves: pd.DataFrame, analysis: Analysis) -> FigureWithCaption:
    """Draw the contrasts that the tested claims rest on, in smallest effects."""
    rows = _select_rows(analysis.verdicts)
    if not rows:
        return None
    figure, (axis,) = style.make_panels(1, width=5.2, height=1.0 + 0.36 * len(rows))
    axis.axvspan(-1, 1, color="#999999", alpha=0.2, linewidth=0)
    axis.axvline(0, color="#777777", linewidth=1)
    for position, (verdict, contrast) in enumerate(rows):
        _plot_contrast(axis, position, verdict.shown.verdict, contrast)
    names, previous = [], None
    for position, (verdict, _) in enumerate(rows):
        is_first, previous = verdict.id != previous, verdict.id
        text = textwrap.shorten(f"{verdict.id} {verdict.title}", 2 * LINE_LENGTH, placeholder="...")
        names.append(textwrap.fill(text, LINE_LENGTH) if is_first else "")
        if is_first:
            word = verdict.shown.verdict
            place: dict[str, Any] = {"transform": axis.get_yaxis_transform(), "va": "center"}
            axis.text(1.02, position, f"{MARKS[word]} {word}", fontsize=style.LABEL_SIZE, **place)
            axis.axhline(position - 0.5, color="#dddddd", linewidth=0.6)
    axis.set_yticks(range(len(rows)), names, fontsize=style.LABEL_SIZE)
    axis.set(xlim=(-LIMIT - 0.5, LIMIT + 0.5), ylim=(len(rows) - 0.5, -0.5))
    axis.set_xlabel("effect, in smallest effects worth having\nas claimed \u2192")
    axis.grid(axis="y", visible=False)
    n_left_out = sum(len(_list_contrasts(verdict)) for verdict in analysis.verdicts) - len(rows)
    left_out = f" {n_left_out} more contrasts are in claims.json." if n_left_out else ""
    return figure, (
        "Each contrast that a claim rests on, positive as claimed, with its 95 % interval over "
        "seeds (thick) and over seeds and images (thin). Within the grey zone an effect is smaller "
        f"than the smallest one worth having. An arrow stands for more than {LIMIT:g} of them. A "
        "claim holds where all its contrasts do, after correction for the number of claims, so "
        f"an interval beyond 0 is no verdict yet; open marks: cannot tell.{left_out}"
    )


def find_claims(frame: pd.DataFrame, curves: pd.DataFrame, analysis: Analysis) -> str:
    """Return how many claims have which verdict."""
    words = {"supports": "supported", "contradicts": "contradicted", "cannot tell": "undecided"}
    counts = Counter(verdict.shown.verdict for verdict in analysis.verdicts)
    return ", ".join(
        f"{counts[word]} {words.get(word, word)}" for word in VERDICTS[:-1] if counts[word]
    )


def _list_contrasts(verdict: Verdict) -> list[dict[str, Any]]:
    """Return the contrasts of a tested claim that it rests on and that have a smallest effect."""
    if verdict.verdict == "not tested":
        return []
    return [
        contrast
        for contrast in verdict.contrasts
        if contrast["needed"] and contrast["smallest"] and not math.isnan(contrast["effect"])
    ]


def _select_rows(verdicts: list[Verdict]) -> list[Row]:
    """Return the rows: of a claim with many contrasts those that speak most against it."""
    rows = []
    for verdict in verdicts:
        contrasts = _list_contrasts(verdict)
        contrasts.sort(key=lambda contrast: contrast["effect"] / contrast["smallest"])
        rows += [(verdict, contrast) for contrast in contrasts[:MAX_CONTRASTS]]
    return rows


def _plot_contrast(axis: Axes, position: int, verdict: str, contrast: dict[str, Any]) -> None:
    """Plot the effect of one contrast with both intervals; an arrow if it is beyond the axis."""
    unit = contrast["smallest"]
    effect = contrast["effect"] / unit
    images = contrast["images"] or {}
    for interval, width in ((contrast, 2.2), (images, 0.9)):
        if "why" not in interval and not math.isnan(interval.get("low", math.nan)):
            ends = [min(max(interval[end] / unit, -LIMIT), LIMIT) for end in ("low", "high")]
            axis.plot(ends, [position] * 2, color="#000000", linewidth=width)
    if abs(effect) > LIMIT:
        side = "right" if effect > 0 else "left"
        text = f"{effect:.0f} \u2192" if effect > 0 else f"\u2190 {effect:.0f}"
        box = {"facecolor": "white", "linewidth": 0, "pad": 1}
        place: dict[str, Any] = {"ha": side, "va": "center", "fontsize": style.LABEL_SIZE}
        place |= {"bbox": box, "zorder": 4}
        axis.text(LIMIT if effect > 0 else -LIMIT, position, text, **place)
        return
    fill = "white" if verdict in SAYS_NOTHING else "#000000"
    look: dict[str, Any] = {"color": "#000000", "marker": MARKERS[verdict], "markerfacecolor": fill}
    axis.plot([effect], [position], zorder=3, **look)


FIGURE = FigureSpec("Claims", 9, plot_claims, shows_analysis=True, find=find_claims)
