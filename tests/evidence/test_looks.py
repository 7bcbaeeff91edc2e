"""Verdicts at a look, and of primary claims that a study names itself."""

import pandas as pd
import pytest

from kdpipe.evidence.verdicts import Contrast, Finding, decide
from kdpipe.statistics.intervals import one_sided
from kdpipe.statistics.looks import Look


def finding(*values: float) -> Finding:
    return Finding([Contrast("an effect", pd.Series(values), "above")], "made")


CLEAR = finding(1.0, 1.4, 1.1)  # p 0.005 with three seeds


def test_an_early_look_wants_more_than_a_late_one():
    found = {"C1": ("one", True, CLEAR)}
    p = one_sided([1.0, 1.4, 1.1])
    assert 0.002 < p < 0.025
    (alone,) = decide(found)
    (late,) = decide(found, look=Look((3, 5, 8), 3))
    (early,) = decide(found, look=Look((3, 5, 8), 1))
    assert [one.verdict for one in (alone, late, early)] == ["supports", "supports", "cannot tell"]
    assert early.p == alone.p == pytest.approx(p)
    assert early.p_corrected > late.p_corrected >= alone.p_corrected


def test_holm_corrects_the_p_values_of_all_looks_together():
    """The smallest p counts as often at a look as without any, after it was turned into theirs."""
    look = Look((3, 8), 1)
    parts = {"C1": CLEAR, "C6": finding(2.0, 2.05, 2.1), "C9": finding(0.2, 1.5, 0.9)}
    found = {key: (key, True, part) for key, part in parts.items()}
    _, alone, _ = decide(found)
    _, early, _ = decide(found, look=look)
    assert early.p_corrected / look.overall(early.p) == pytest.approx(alone.p_corrected / alone.p)
    assert early.p_corrected > 10 * alone.p_corrected


def test_primary_claims_may_be_named():
    found = {key: (key, key == "C1", CLEAR) for key in ("C1", "C2", "C3")}
    assert [one.primary for one in decide(found)] == [True, False, False]
    named = decide(found, primary=["C2", "C3"])
    assert [one.primary for one in named] == [False, True, True]
    assert named[0].p_corrected < named[1].p_corrected
