"""A or B: every pair of teachers, stops and methods of a student, paired by seed."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from kdpipe.analysis.dataframe import group_rows
from kdpipe.analysis.pairwise import MAX_PAIRS, PairwiseComparison
from kdpipe.report.format import (
    describe_rank_images,
    format_estimate,
    format_interval,
    format_stop,
)
from kdpipe.report.table import RenderedTable
from kdpipe.stats import power
from kdpipe.stats.group_sequential import SINGLE_ANALYSIS, InterimAnalysis

CAPTION = (
    "Error of A minus error of B in points, paired by seed, over the cells that agree in "
    "everything else; negative is in favor of A. The intervals of all pairs of one student and "
    "question hold jointly (Bonferroni), and the wider of the two intervals decides the mark. "
    "Where there would be more than {most} pairs, each level is compared only with the level "
    "that is best on validation by an additive fit (level + cell) over the cells that have two "
    "levels or more. Beside that level is the probability that it is the best of all, over other "
    "seeds and {images}."
)
NAME, TITLE = "a_or_b", "A or B?"
DECIDED_MARKS = ("better", "worse")


def render_pairs_table(
    pairs: list[PairwiseComparison],
    interim: InterimAnalysis = SINGLE_ANALYSIS,
    incomparable: Sequence[tuple[str, str, list[list[str]]]] = (),
) -> RenderedTable:
    """Render pairwise comparisons that were made at an interim analysis.

    Parameters
    ----------
    pairs : list of PairwiseComparison
        The pairs, a row each.
    interim : InterimAnalysis
        The interim analysis, which the caption describes.
    incomparable : sequence of (student, factor, parts)
        What `find_incomparable_levels` returns, for the caption.
    """
    rows, display_rows = [], []
    for pair in pairs:
        d, interval = pair.gain.difference, pair.gain.image_interval or {}
        a, b = (_format_level(pair.factor, level) for level in (pair.a, pair.b))
        row = {"student": pair.student, "question": pair.factor, "a": pair.a, "b": pair.b}
        row |= {"n": d.n, "difference": d.mean, "difference_sd": d.sd, "difference_low": d.low}
        row |= {"difference_high": d.high, "images_low": interval.get("low")}
        row |= {"images_high": interval.get("high"), "level": pair.gain.level}
        row |= {"difference_mark": pair.gain.mark, "cells": pair.n_cells, "of": pair.n_pairs}
        row |= {"b_first": pair.rank.p_best if pair.rank else None}
        rows.append(row | {"best_on_shared": pair.best_on_shared})
        size = format_estimate(d.mean, d.half_width, sign="+")
        notes = []
        if pair.rank is not None and pair.rank.p_best == pair.rank.p_best:  # not nan
            notes.append(f"best with {pair.rank.p_best:.0%}")
        if pair.best_on_shared is not None:
            best = _format_level(pair.factor, pair.best_on_shared)
            notes.append(f"on the cells that all share: {best}")
        b = f"{b} ({'; '.join(notes)})" if notes else b
        fields = {"question": f"which {pair.factor}?", "A": a, "B": b}
        fields |= {"A minus B": f"{size}, {pair.gain.mark}"}
        fields |= {
            "images too": "-" if "why" in interval else format_interval(pair.gain.image_interval)
        }
        fields |= {"n": d.n, "student": pair.student}
        display_rows.append(fields | {"over cells": pair.n_cells, "of pairs": pair.n_pairs})
    columns = ["question", "a", "b", "difference", "images_low", "n", "student", "cells", "of"]
    images = describe_rank_images(pair.rank for pair in pairs)
    sentences = [CAPTION.format(most=MAX_PAIRS, images=images), interim.description]
    for student, factor, parts in incomparable:
        listed = "; ".join(
            ", ".join(_format_level(factor, level) for level in part) for part in parts
        )
        sentences.append(
            f"For {student} these {factor}s cannot be compared, since no chain of shared cells "
            f"connects them: {listed}."
        )
    caption = " ".join(filter(None, sentences))
    values = [{"difference": _list_values(pair.gain.values)} for pair in pairs]
    return RenderedTable(
        NAME, TITLE, caption, pd.DataFrame(rows), pd.DataFrame(display_rows), columns, values
    )


def _list_values(values: pd.Series) -> dict[float, float]:
    """Return values by seed that still know their runs, which `Series.to_dict` would lose."""
    return {float(seed): value for seed, value in zip(values.index, values, strict=True)}


def select_pairs(table: RenderedTable, is_decided: bool) -> RenderedTable:
    """Return the pairs of those questions in which at least one pair is decided, or of the others.

    Parameters
    ----------
    table : RenderedTable
        What `render_pairs_table` returns.
    is_decided : bool
        Which of the two.
    """
    decided = table.data.difference_mark.isin(DECIDED_MARKS)
    is_selected = decided.groupby([table.data.student, table.data.question]).transform("any")
    rows = is_selected == is_decided
    return replace(table, data=table.data[rows], display=table.display[rows.to_numpy()])


def describe_undecided(table: RenderedTable, smallest_effect: float) -> list[str]:
    """Return a sentence for each question of a student in which no pair is decided.

    Parameters
    ----------
    table : RenderedTable
        What `render_pairs_table` returns.
    smallest_effect : float
        Smallest effect of interest, in points.

    Returns
    -------
    list of str
        With the largest difference, and the seeds that would show the smallest effect with a
        probability of 0.8 by the largest spread over seeds of these pairs.
    """
    sentences = []
    undecided = select_pairs(table, is_decided=False).data
    for key, rows in group_rows(undecided, "student", "question"):
        student, question = key["student"], key["question"]
        largest = rows.loc[rows.difference.abs().idxmax()]
        a, b = (_format_level(question, level) for level in (largest.a, largest.b))
        half_width = (largest.difference_high - largest.difference_low) / 2
        size = format_estimate(largest.difference, half_width, sign="+")
        text = f"Which {question} for {student}? "
        if len(rows) == 1:
            text += f"{a} and {b} cannot be told apart: {size} points."
        else:
            text += (
                f"None of {len(rows)} pairs can be told apart; the largest difference is {a} minus "
                f"{b}, {size} points."
            )
        level = (1 - float(rows.level.iloc[0])) / 2
        seeds = power.find_seeds_needed(rows.difference_sd.max(), smallest_effect, level=level)
        if seeds is not None:
            text += f" About {seeds:,} seeds would show a difference of {smallest_effect:g} points."
        sentences.append(text)
    return sentences


def _format_level(factor: str, level: str) -> str:
    """Return the level of a factor as the page shows it."""
    return format_stop(level) if factor == "stop" else level
