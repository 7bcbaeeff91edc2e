"""Who goes on in a search: by hand, and by SciPy's ranks."""

import itertools
import math
from fractions import Fraction

import pytest
from scipy.stats import spearmanr

from kdpipe.analysis.search import elimination_rule


def test_the_third_with_the_lowest_nll_teaches_and_two_of_the_rest_are_tried():
    nll = {"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.3, "e": 0.7, "f": math.inf, "g": 0.6}
    # By NLL: b d c g e a f; a third of seven is three; of g e a f the middle is e, the last f.
    assert elimination_rule.screen_stops(nll) == (["b", "d", "c"], ["e", "f"], ["g", "a"])


def test_of_three_stops_none_is_set_aside():
    assert elimination_rule.screen_stops({"a": 2.0, "b": 1.0, "c": 3.0}) == (
        ["b", "a", "c"],
        [],
        [],
    )


def test_of_four_stops_two_teach_and_both_others_are_tried():
    assert elimination_rule.screen_stops({"a": 4.0, "b": 1.0, "c": 3.0, "d": 2.0}) == (
        ["b", "d"],
        ["c", "a"],
        [],
    )


def test_equal_stops_stay_as_the_study_has_them():
    assert elimination_rule.screen_stops(dict.fromkeys("dcba", 1.0)).selected == ["d", "c"]


def test_the_rank_correlation_is_that_of_scipy_and_undefined_where_nothing_differs():
    nll, errors = [0.1, 0.4, 0.2, 0.9, 0.5], [5.0, 5.0, 4.0, 9.0, 7.0]
    assert elimination_rule.compute_rank_correlation(nll, errors) == pytest.approx(
        spearmanr(nll, errors)[0]
    )
    assert math.isnan(elimination_rule.compute_rank_correlation([1, 1, 1], [1, 2, 3]))
    assert math.isnan(elimination_rule.compute_rank_correlation([1, 2], [1, 2]))
    for ranks in itertools.permutations([1.0, 2.0, 3.0, 4.0, 5.0]):  # as exact fractions have it
        apart = sum((Fraction(a) - b) ** 2 for a, b in enumerate(map(int, ranks), 1))
        exact = 1 - Fraction(6) * apart / 120
        assert elimination_rule.is_assumption_met(
            elimination_rule.compute_rank_correlation([1, 2, 3, 4, 5], list(ranks))
        ) == (exact >= 0.5)
    assert (
        elimination_rule.is_assumption_met(0.5)
        and not elimination_rule.is_assumption_met(0.49)
        and not elimination_rule.is_assumption_met(math.nan)
    )


@pytest.mark.parametrize(
    "revision, cells, on",
    [
        *[(3, 1, 1), (3, 2, 1), (3, 3, 2), (3, 5, 3), (3, 27, 14), (3, 35, 18)],
        *[(2, 1, 1), (2, 2, 1), (2, 3, 2), (2, 5, 2), (2, 6, 3), (2, 27, 11), (2, 35, 14)],
    ],
)
def test_half_of_the_cells_go_on_and_never_none(revision, cells, on):
    """By the second revision two fifths."""
    assert elimination_rule.count_survivors(cells, revision) == on
    means = {f"cell {i}": float(cells - i) for i in range(cells)}
    assert (
        elimination_rule.select_survivors(means, revision=revision)
        == [f"cell {i}" for i in reversed(range(cells))][:on]
    )


def test_the_newest_rule_is_the_one_of_a_study_that_names_none():
    assert elimination_rule.get_revision(None) == elimination_rule.REVISION == 3
    assert elimination_rule.get_revision(2) == 2


def test_what_cannot_be_paid_for_does_not_go_on_but_one_does():
    means = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 1.0}
    assert elimination_rule.select_survivors(means, maximum=5) == ["b", "d"]
    assert elimination_rule.select_survivors(means, maximum=1) == ["b"]
    assert elimination_rule.select_survivors(means, maximum=0) == ["b"]
