"""The curve of each run, small enough that the page has them all: a click shows one.

Error in points over epochs: on validation as a line, in training (running mean, augmented, with the
labels as they were trained on) as dashes. Drawn by hand, since it is two lines and there are
hundreds of them; the figures of a report are matplotlib's.
"""

import math

import pandas as pd
from markupsafe import Markup

SHOWN = 400  # curves on a page; `kdpipe track` has no such limit
WIDTH, HEIGHT = 320, 120
LINES = {"val_error": "", "train_error": ' stroke-dasharray="4 3"'}


def drawn(curves: pd.DataFrame) -> list[tuple[str, Markup]]:
    """(run, its curve as SVG), in the order of the plan; runs without a curve are left out."""
    known = [column for column in LINES if column in curves]
    groups = list(curves.groupby("run", sort=False)) if known else []
    return [(str(run), _svg(rows, known)) for run, rows in groups[:SHOWN]]


def _svg(rows: pd.DataFrame, columns: list[str]) -> Markup:
    last, top = int(rows.epoch.max()), float(rows[columns].max().max())
    top = top if math.isfinite(top) and top > 0 else 1.0
    lines = [
        f'<polyline fill="none" stroke="currentColor"{LINES[column]} points="{points}"/>'
        for column in columns
        if (points := _points(rows, column, last, top))
    ]
    text = f"error from 0 to {top:.1f} points over {last:,} epochs"
    return Markup(
        f'<svg viewBox="-2 -2 {WIDTH + 4} {HEIGHT + 4}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{text}">'
        f'<path d="M0 0V{HEIGHT}H{WIDTH}" fill="none" stroke="currentColor" opacity=".4"/>'
        f'{"".join(lines)}</svg> <span class="note">{text}</span>'
    )


def _points(rows: pd.DataFrame, column: str, last: int, top: float) -> str:
    """Where a line goes: epoch 1 to the last from left to right, no error at the bottom."""
    return " ".join(
        f"{WIDTH * (epoch - 1) / max(1, last - 1):.1f},{HEIGHT * (1 - error / top):.1f}"
        for epoch, error in zip(rows.epoch, rows[column], strict=True)
        if math.isfinite(error)
    )
