"""Verdicts at a look, and of primary claims that a study names itself."""

import numpy as np
import pandas as pd
import pytest

from kdpipe.analysis.claim import Contrast, Finding, judge_findings
from kdpipe.analysis.recommendation import PairedGain, adjust_gains_jointly
from kdpipe.stats.group_sequential import SINGLE_ANALYSIS, InterimAnalysis
from kdpipe.stats.intervals import summarize, t_test_greater


def finding(*values: float) -> Finding:
    return Finding([Contrast("an effect", pd.Series(values), "above")], "made")


CLEAR = finding(1.0, 1.4, 1.1)  # p 0.005 with three seeds


def test_an_early_look_wants_more_than_a_late_one():
    actual = {"C1": ("one", True, CLEAR)}
    p = t_test_greater([1.0, 1.4, 1.1])
    assert 0.002 < p < 0.025
    (alone,) = judge_findings(actual)
    (late,) = judge_findings(actual, interim=InterimAnalysis((3, 5, 8), 3))
    (early,) = judge_findings(actual, interim=InterimAnalysis((3, 5, 8), 1))
    assert [one.verdict for one in (alone, late, early)] == ["supports", "supports", "cannot tell"]
    assert early.p == alone.p == pytest.approx(p)
    assert early.p_corrected > late.p_corrected >= alone.p_corrected


def test_holm_corrects_the_p_values_of_all_looks_together():
    """The smallest p counts as often at a look as without any, after it was turned into theirs."""
    look = InterimAnalysis((3, 8), 1)
    parts = {"C1": CLEAR, "C6": finding(2.0, 2.05, 2.1), "C9": finding(0.2, 1.5, 0.9)}
    actual = {key: (key, True, part) for key, part in parts.items()}
    _, alone, _ = judge_findings(actual)
    _, early, _ = judge_findings(actual, interim=look)
    assert early.p_corrected / look.adjust_p(early.p) == pytest.approx(alone.p_corrected / alone.p)
    assert early.p_corrected > 10 * alone.p_corrected


def test_primary_claims_may_be_named():
    actual = {key: (key, key == "C1", CLEAR) for key in ("C1", "C2", "C3")}
    assert [one.primary for one in judge_findings(actual)] == [True, False, False]
    named = judge_findings(actual, primary=["C2", "C3"])
    assert [one.primary for one in named] == [False, True, True]
    assert named[0].p_corrected < named[1].p_corrected


def marked(values, look, of=None) -> PairedGain:
    series = pd.Series(values)
    (gain,) = adjust_gains_jointly(
        [PairedGain("scratch", summarize(series), "", series)], None, look, of
    )
    return gain


def test_marks_at_all_looks_together_err_as_often_as_one_would():
    """Pure noise, looked at after 3, 5 and 8 seeds: with 95 % at each it was 10.8 %."""
    random, counts = np.random.default_rng(1), (3, 5, 8)
    looks, seen = [InterimAnalysis(counts, number) for number in (1, 2, 3)], []
    for values in random.normal(0, 1, (600, 8)):
        marks = {marked(values[:n], look).mark for n, look in zip(counts, looks, strict=True)}
        seen.append(marks != {"cannot tell"})
    assert 0.03 < np.mean(seen) < 0.075


def test_an_interval_at_a_look_is_that_of_what_the_look_may_spend():
    look, values = InterimAnalysis((3, 5, 8), 2), [0.5, 1.5, 0.9, 1.2, 0.4]
    one, two = marked(values, look), marked(values, look, of=2)
    assert one.level == pytest.approx(1 - 2 * look.compute_level(0.025))
    assert (
        two.level == pytest.approx(1 - 2 * look.compute_level(0.0125))
        and two.level > one.level > 0.95
    )
    assert (
        marked(values, SINGLE_ANALYSIS, of=2).level == 0.975 and SINGLE_ANALYSIS.description == ""
    )
    assert "look 2 of 3 (after 3, 5, 8 seeds)" in look.description
