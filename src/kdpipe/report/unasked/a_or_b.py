"""The table of A or B: every pair of teachers, stops and methods of a student, paired by seed."""

import pandas as pd

from kdpipe.evidence.advice.pairs import MOST, Pair
from kdpipe.report.table import Sheet
from kdpipe.report.text import rounded, span, stop_of
from kdpipe.statistics.looks import ONLY, Look

CAPTION = (
    "Error of A less that of B in points, paired by seed, over the cells that agree in everything "
    "else: negative is for A. All pairs of one student and question hold together (Bonferroni), "
    "and the wider of the two intervals gives the mark. Of more than {most} pairs each level "
    "stands against the one that is best on validation, with the share of draws of the seeds in "
    "which it comes first."
)
NAME, TITLE = "a_or_b", "A or B?"


def sheet(found: list[Pair], look: Look = ONLY) -> Sheet:
    """The pairs as a table of a report. look: at which they were made."""
    rows, shown = [], []
    for pair in found:
        d, facts = pair.gain.difference, pair.gain.images or {}
        a, b = (stop_of(one) if pair.factor == "stop" else one for one in (pair.a, pair.b))
        row = {"student": pair.student, "question": pair.factor, "a": pair.a, "b": pair.b}
        row |= {"n": d.n, "difference": d.mean, "difference_sd": d.sd, "difference_low": d.low}
        row |= {"difference_high": d.high, "images_low": facts.get("low")}
        row |= {"images_high": facts.get("high"), "level": pair.gain.level}
        row |= {"difference_mark": pair.gain.mark, "cells": pair.cells, "of": pair.of}
        rows.append(row | {"b_first": pair.place.best if pair.place else None})
        size = rounded(d.mean, d.half_width, sign="+")
        if pair.place is not None and pair.place.best == pair.place.best:  # not nan
            b = f"{b} (first in {pair.place.best:.0%})"
        seen = {"question": f"which {pair.factor}?", "A": a, "B": b}
        seen |= {"A less B": f"{size}, {pair.gain.mark}"}
        seen |= {"images too": "-" if "why" in facts else span(pair.gain.images)}
        seen |= {"n": d.n, "student": pair.student}
        shown.append(seen | {"over cells": pair.cells, "of pairs": pair.of})
    columns = ["question", "a", "b", "difference", "images_low", "n", "student", "cells", "of"]
    caption = f"{CAPTION.format(most=MOST)} {look.said}".strip()
    return Sheet(NAME, TITLE, caption, pd.DataFrame(rows), pd.DataFrame(shown), columns)
