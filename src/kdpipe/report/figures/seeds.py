"""Paired slopes: the error of each seed from scratch and taught, one line a seed."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from kdpipe.analysis.contest import select_entrants
from kdpipe.analysis.dataframe import filter_rows, get_series_by_seed
from kdpipe.analysis.recommendation import Recommendation
from kdpipe.report import style
from kdpipe.report.figure import ERROR_LABEL, MAX_PANELS, FigureSpec, FigureWithCaption
from kdpipe.report.format import format_estimate
from kdpipe.stats.intervals import describe_difference, summarize


def plot_seeds(
    frame: pd.DataFrame, curves: pd.DataFrame, recommendations: Sequence[Recommendation] = ()
) -> FigureWithCaption:
    """Draw a panel for each student with its best taught network on validation."""
    pairs = list(_iter_pairs(frame, recommendations))
    if not pairs:
        return None
    figure, axes = style.make_panels(len(pairs), width=3.0, height=3.2)
    for axis, (student, scratch, taught) in zip(axes, pairs, strict=True):
        for label, role, is_chosen in (
            ("taught is better", "taught", taught < scratch),
            ("taught is not better", "scratch", taught >= scratch),
        ):
            ends = pd.DataFrame([scratch[is_chosen], taught[is_chosen]]).to_numpy(float)
            look = style.ROLE_STYLES[role] | {"alpha": 0.8, "linewidth": 1}
            lines = axis.plot([0, 1], ends, **look) if ends.size else []
            for line in lines[:1]:
                line.set_label(label)
        means = [float(np.mean(scratch)), float(np.mean(taught))]
        axis.plot([0, 1], means, color="#000000", linewidth=3, label="mean", zorder=4)
        axis.set(title=student, ylabel=ERROR_LABEL)
        style.set_tick_names(axis, [0, 1], ["from scratch", "taught"], rotate=False)
        axis.margins(x=0.3)
    style.add_legend(figure, axes)
    return figure, (
        "One line for each seed, from the student on labels alone to the distilled one that is "
        "best on validation. Both share all that the seed draws, so the slope is the paired "
        "difference."
    )


def find_difference(
    frame: pd.DataFrame, curves: pd.DataFrame, recommendations: Sequence[Recommendation] = ()
) -> str:
    """Return in how many seeds the taught student is better, and whether that can be told."""
    texts = []
    for student, scratch, taught in _iter_pairs(frame, recommendations):
        difference = summarize(taught - scratch)
        n_better, n = int((taught < scratch).sum()), len(taught)
        count = f"taught is better in {'all' if n_better == n else f'{n_better} of'} {n} seeds"
        if describe_difference(difference) == "too few seeds":
            texts.append(f"{student}, {n} seeds are too few to tell")
        elif describe_difference(difference) in ("better", "worse"):
            points = format_estimate(difference.mean, difference.half_width, "+")
            texts.append(f"{student}, {count} ({points} points)")
        else:
            texts.append(f"{student}, no difference can be told ({count})")
    return "; ".join(texts)


def _iter_pairs(
    frame: pd.DataFrame, recommendations: Sequence[Recommendation]
) -> Iterator[tuple[str, pd.Series, pd.Series]]:
    """Yield each student with its errors from scratch and taught, of the seeds that have both."""
    keys = {one.student: one.taught.entrant.key for one in recommendations if one.taught}
    entrants = select_entrants(frame) if keys else frame
    for student, key in list(keys.items())[:MAX_PANELS]:
        rows = filter_rows(entrants, contest=student, **key)
        if not len(rows):
            continue
        taught = get_series_by_seed(rows).astype(float)
        network = filter_rows(frame, kind="scratch", student=rows.row_student.iloc[0])
        scratch = get_series_by_seed(network).astype(float)
        seeds = taught.dropna().index.intersection(scratch.dropna().index)
        if len(seeds) > 1:
            yield student, pd.Series(scratch[seeds]), pd.Series(taught[seeds])


FIGURE = FigureSpec("Seed by seed", 4, plot_seeds, shows_recommendations=True, find=find_difference)
