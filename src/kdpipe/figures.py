"""The figures of a report: pure functions from the tidy frame and the curves to a drawing.

Each returns its figure and what it shows, or None where the study has no data for it. Errors are
top-1 in % on test, a point is a mean over seeds with its 95 % interval. `FIGURES` lists them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from kdpipe import error_figures, loss_figures, paths, size_figure, style
from kdpipe.cells import tidy, where
from kdpipe.verdicts import Untested

__all__ = ["FIGURES", "Drawing", "draw"]


@dataclass(frozen=True)
class Drawing:
    """A figure with the words that stand below it and in its place."""

    name: str
    title: str
    caption: str
    figure: Figure


def draw(frame: pd.DataFrame, curves: pd.DataFrame) -> list[Drawing]:
    """Every figure for which there is data, in the order of a report."""
    rows = where(tidy(frame), status="done")
    found = []
    for name, (title, function) in FIGURES.items():
        try:
            with style.applied():
                made = function(rows, curves)
        except Untested:  # no method of the kind that it shows
            continue
        if made is not None:
            figure, what = made
            found.append(Drawing(name, title, f"{what} {_counts(rows)}", figure))
    return found


def _counts(rows: pd.DataFrame) -> str:
    done = where(rows, status="done")
    images = done.test_n.max() if "test_n" in done else float("nan")
    test = f" of {images:,.0f} images" if images == images else ""
    return f"Means with 95 % t intervals over n = {done.seed.nunique()} seeds; test set{test}."


FIGURES: dict[str, tuple[str, Callable]] = {
    "teacher_size": ("Student error against the size of the teacher", size_figure.teacher_size),
    "early_stopped": (
        "Student error against the epochs of the teacher",
        error_figures.early_stopped,
    ),
    "checkpoints": ("Teacher checkpoints and students", error_figures.checkpoints),
    "loss_curves": ("Full KD and KD stopped early, epoch by epoch", loss_figures.loss_curves),
    "mimicry": ("How far students stay from their teachers", loss_figures.mimicry),
    "losses": ("Cross-entropy against the KD loss", loss_figures.losses),
    "confidence": ("Confidence of the teachers", loss_figures.confidence),
    "temperature": ("Temperature", error_figures.temperature),
    "paths": ("Chains and generations", paths.paths),
    "cost": ("Accuracy against cost", error_figures.cost),
}
