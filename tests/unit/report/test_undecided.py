"""A question in which no pair is decided is one sentence, and its rows are folded."""

import math
import re

import pandas as pd
import pytest
from scipy import stats

from kdpipe.report.builtin_tables.a_or_b import describe_undecided, select_pairs
from kdpipe.report.table import RenderedTable


def make_table(rows: list[tuple]) -> RenderedTable:
    """A table of pairs: student, question, a, b, difference, half-width, sd, mark."""
    data = pd.DataFrame(
        [
            {
                **{"student": s, "question": q, "a": a, "b": b, "n": 5, "difference": d},
                **{"difference_low": d - half, "difference_high": d + half, "difference_sd": sd},
                **{"difference_mark": mark, "level": 0.95},
            }
            for s, q, a, b, d, half, sd, mark in rows
        ]
    )
    return RenderedTable("a_or_b", "A or B?", "", data, data[["a", "b"]], [])


TABLE = make_table(
    [
        ("small", "teacher", "big", "mid", -0.2, 0.9, 0.5, "cannot tell"),
        ("small", "teacher", "big", "own", 0.6, 1.1, 0.7, "cannot tell"),
        ("small", "stop", "full", "checkpoint 3", -2.0, 1.0, 0.8, "better"),
        ("small", "stop", "full", "checkpoint 9", -0.1, 1.0, 0.8, "cannot tell"),
        ("other", "method", "kd", "eskd", 0.1, 0.4, 0.3, "no spread"),
    ]
)


def test_every_pair_is_in_one_of_the_two_parts():
    decided, undecided = (select_pairs(TABLE, is_decided=one) for one in (True, False))
    assert decided.data.b.tolist() == decided.display.b.tolist() == ["checkpoint 3", "checkpoint 9"]
    assert undecided.data.b.tolist() == undecided.display.b.tolist() == ["mid", "own", "eskd"]


def test_the_sentence_has_the_largest_difference_and_the_seeds_that_would_show_the_effect():
    teachers, methods = describe_undecided(TABLE, 0.5)
    assert teachers.startswith(
        "Which teacher for small? None of 2 pairs can be told apart; the largest difference is "
        "big minus own, +0.6 ± 1.1 points. About "
    )
    assert methods.startswith("Which method for other? kd and eskd cannot be told apart: ")
    # An oracle: the power of a t test at 2.5 % a side, from scipy's noncentral t distribution.
    for sentence, sd in ((teachers, 0.7), (methods, 0.3)):
        seeds = int(re.search(r"About (\d+) seeds", sentence)[1])

        def power(n, sd=sd):
            noncentrality = 0.5 / (sd / math.sqrt(n))
            return stats.nct.sf(stats.t.isf(0.025, n - 1), n - 1, noncentrality)

        assert power(seeds) >= 0.8 > power(seeds - 1)


def test_without_a_spread_no_number_of_seeds_is_named():
    rows = [("small", "stop", "full", "checkpoint 3", 0.3, math.nan, math.nan, "cannot tell")]
    (sentence,) = describe_undecided(make_table(rows), 0.5)
    assert "seeds" not in sentence


@pytest.mark.parametrize("effect", [0.5, 1.0])
def test_a_larger_effect_takes_no_more_seeds(effect):
    counts = [
        int(re.search(r"About (\d+) seeds", describe_undecided(TABLE, e)[0])[1])
        for e in (effect, 2 * effect)
    ]
    assert counts[0] >= counts[1]
