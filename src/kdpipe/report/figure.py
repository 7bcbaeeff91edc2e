"""The figures of a report: pure functions from the tidy frame and the curves to a drawing.

Each returns its figure and what it shows, or None where the study has no data for it. Errors are
top-1 in % on test, a point is a mean over seeds with its 95 % interval. `FIGURES` lists them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from kdpipe.evidence.selections import tidy, where
from kdpipe.evidence.verdicts import Untested
from kdpipe.report import style
from kdpipe.report.figures.checkpoints import checkpoints
from kdpipe.report.figures.confidence import confidence
from kdpipe.report.figures.cost import cost
from kdpipe.report.figures.early_stopped import early_stopped
from kdpipe.report.figures.loss_curves import loss_curves
from kdpipe.report.figures.losses import losses
from kdpipe.report.figures.mimicry import mimicry
from kdpipe.report.figures.paths import paths
from kdpipe.report.figures.teacher_size import teacher_size
from kdpipe.report.figures.temperature import temperature


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
    "teacher_size": ("Student error against the size of the teacher", teacher_size),
    "early_stopped": (
        "Student error against the epochs of the teacher",
        early_stopped,
    ),
    "checkpoints": ("Teacher checkpoints and students", checkpoints),
    "loss_curves": ("Full KD and KD stopped early, epoch by epoch", loss_curves),
    "mimicry": ("How far students stay from their teachers", mimicry),
    "losses": ("Cross-entropy against the KD loss", losses),
    "confidence": ("Confidence of the teachers", confidence),
    "temperature": ("Temperature", temperature),
    "paths": ("Chains and generations", paths),
    "cost": ("Accuracy against cost", cost),
}
