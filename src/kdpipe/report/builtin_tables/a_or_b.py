"""A or B: every pair of teachers, stops and methods of a student, paired by seed."""

import pandas as pd

from kdpipe.analysis.pairwise import MAX_PAIRS, PairwiseComparison
from kdpipe.report.format import format_estimate, format_interval, format_stop
from kdpipe.report.table import RenderedTable
from kdpipe.stats.group_sequential import SINGLE_ANALYSIS, InterimAnalysis

CAPTION = (
    "Error of A less that of B in points, paired by seed, over the cells that agree in everything "
    "else: negative is for A. All pairs of one student and question hold together (Bonferroni), "
    "and the wider of the two intervals gives the mark. Of more than {most} pairs each level "
    "stands against the one that is best on validation, with the share of draws of the seeds in "
    "which it comes first."
)
NAME, TITLE = "a_or_b", "A or B?"


def render_pairs_table(
    pairs: list[PairwiseComparison], interim: InterimAnalysis = SINGLE_ANALYSIS
) -> RenderedTable:
    """Render pairwise comparisons that were made at an interim analysis."""
    rows, display_rows = [], []
    for pair in pairs:
        d, interval = pair.gain.difference, pair.gain.image_interval or {}
        a, b = (
            format_stop(level) if pair.factor == "stop" else level for level in (pair.a, pair.b)
        )
        row = {"student": pair.student, "question": pair.factor, "a": pair.a, "b": pair.b}
        row |= {"n": d.n, "difference": d.mean, "difference_sd": d.sd, "difference_low": d.low}
        row |= {"difference_high": d.high, "images_low": interval.get("low")}
        row |= {"images_high": interval.get("high"), "level": pair.gain.level}
        row |= {"difference_mark": pair.gain.mark, "cells": pair.n_cells, "of": pair.n_pairs}
        rows.append(row | {"b_first": pair.rank.p_best if pair.rank else None})
        size = format_estimate(d.mean, d.half_width, sign="+")
        if pair.rank is not None and pair.rank.p_best == pair.rank.p_best:  # not nan
            b = f"{b} (first in {pair.rank.p_best:.0%})"
        fields = {"question": f"which {pair.factor}?", "A": a, "B": b}
        fields |= {"A less B": f"{size}, {pair.gain.mark}"}
        fields |= {
            "images too": "-" if "why" in interval else format_interval(pair.gain.image_interval)
        }
        fields |= {"n": d.n, "student": pair.student}
        display_rows.append(fields | {"over cells": pair.n_cells, "of pairs": pair.n_pairs})
    columns = ["question", "a", "b", "difference", "images_low", "n", "student", "cells", "of"]
    caption = f"{CAPTION.format(most=MAX_PAIRS)} {interim.description}".strip()
    return RenderedTable(
        NAME, TITLE, caption, pd.DataFrame(rows), pd.DataFrame(display_rows), columns
    )
