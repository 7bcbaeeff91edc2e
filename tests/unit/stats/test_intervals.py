"""Statistics against scipy and against numbers worked out by hand."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdpipe.stats.intervals import (
    describe_difference,
    select_options,
    summarize,
    summarize_columns,
    summarize_paired,
    t_test_greater,
)

VALUES = [10.0, 12.0, 11.0, 15.0, 9.5]


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_summary_agrees_with_scipy():
    s = summarize(VALUES)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(VALUES), scale=stats.sem(VALUES))
    assert (s.n, s.mean, s.median) == (5, 11.5, 11.0)
    assert s.sd == pytest.approx(np.std(VALUES, ddof=1))
    assert (s.low, s.high) == pytest.approx((low, high))
    assert s.half_width == pytest.approx((high - low) / 2)


def test_summary_by_hand():
    s = summarize([1, 2, 3])
    assert (s.mean, s.sd) == (2, 1)
    assert s.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)  # t(0.975, 2)
    assert summarize([1, 2, 3], level=0.9).half_width == pytest.approx(2.919986 / math.sqrt(3))


def test_two_seeds_have_a_spread_and_no_interval():
    two = summarize([70.0, 73.0])
    assert (two.n, two.mean, two.median) == (2, 71.5, 71.5)
    assert two.sd == pytest.approx(3 / math.sqrt(2))
    assert math.isnan(two.low) and math.isnan(two.high) and math.isnan(two.half_width)
    assert not math.isnan(summarize([70.0, 73.0, 71.0]).half_width)


def test_many_measures_at_once_are_the_same_as_one_by_one():
    columns = [
        VALUES,
        [1, math.nan, 3, 2, math.nan],
        [math.nan] * 5,
        [2.0] * 5,
        [math.nan] * 4 + [7],
    ]
    together = summarize_columns(np.array(columns).T)
    for s, values in zip(together, columns, strict=True):
        known = [value for value in values if not math.isnan(value)]
        assert s.n == len(known)
        if known:
            assert (s.mean, s.median) == pytest.approx((np.mean(known), np.median(known)))
        if len(known) > 1:
            low, high = stats.t.interval(
                0.95, len(known) - 1, loc=s.mean, scale=max(stats.sem(known), 1e-300)
            )
            assert s.sd == pytest.approx(np.std(known, ddof=1))
            assert (s.low, s.high) == pytest.approx((low, high))
    assert summarize_columns(np.empty((0, 2)))[0].n == 0


def test_summary_of_none_and_of_one():
    none, one = summarize([]), summarize([7.5])
    assert none.n == 0 and math.isnan(none.mean) and math.isnan(none.low)
    assert (one.n, one.mean, one.median) == (1, 7.5, 7.5)
    assert math.isnan(one.sd) and math.isnan(one.low) and math.isnan(one.high)
    assert summarize([math.nan, 7.5]).n == 1 and summarize([math.nan, 7.5]).mean == 7.5


@pytest.mark.parametrize("value", [0.0, 0.1, 92.3])
def test_equal_values_have_no_spread(value):
    s = summarize([value] * 3)
    assert s.sd == 0 and s.low == s.high == s.mean == pytest.approx(value)


def test_paired_agrees_with_scipy_in_any_order():
    a = pd.Series(VALUES, index=[0, 1, 2, 3, 4])
    b = pd.Series([11.0, 12.5, 10.0, 16.0, 9.0], index=[0, 1, 2, 3, 4])
    oracle = stats.ttest_rel(a, b)
    interval = oracle.confidence_interval(0.95)
    d = summarize_paired(a, b.sample(frac=1, random_state=0))
    assert d.mean == pytest.approx(np.mean(a - b))
    assert (d.low, d.high) == pytest.approx((interval.low, interval.high))
    assert d.dropped == 0


def test_paired_drops_and_counts_what_it_cannot_match():
    a = pd.Series({0: 1.0, 1: 2.0, 2: math.nan})
    b = pd.Series({1: 5.0, 2: 1.0, 3: 1.0})
    d = summarize_paired(a, b)
    assert (d.n, d.mean, d.dropped) == (1, -3.0, 3)
    assert summarize_paired(a, pd.Series(dtype=float)).n == 0


def test_paired_refuses_a_seed_twice():
    with pytest.raises(ValueError, match="twice"):
        summarize_paired(pd.Series([1.0, 2.0], index=[0, 0]), pd.Series([1.0], index=[0]))


@pytest.mark.parametrize(
    ("differences", "word"),
    [
        ([-1.0, -1.1, -0.9], "better"),
        ([1.0, 1.1, 0.9], "worse"),
        ([-1.0, 1.0, 0.2], "cannot tell"),
        ([-1.0, 1.0, -0.2], "cannot tell"),
        ([0.0, 0.0, 0.0], "no spread"),
        ([-0.5, -0.5, -0.5], "no spread"),
        ([5.1 - 4.9, 7.3 - 7.1, 0.2], "no spread"),  # equal but for rounding
        ([-9.0, -9.1], "too few seeds"),
        ([], "too few seeds"),
    ],
)
def test_mark(differences, word):
    assert describe_difference(summarize(differences)) == word


@pytest.mark.parametrize("margin", [0.0, -0.5, 1.0])
def test_one_sided_agrees_with_scipy(margin):
    differences = [0.3, -0.1, 0.8, 0.4]
    oracle = stats.ttest_1samp(differences, margin, alternative="greater").pvalue
    assert t_test_greater(differences, margin) == pytest.approx(oracle)


def test_one_sided_without_spread_or_without_values():
    assert [t_test_greater([0.2] * 3, margin) for margin in (0.1, 0.2, 0.3)] == [0.0, 0.5, 1.0]
    assert math.isnan(t_test_greater([0.2]))


def test_choose_leaves_the_tested_seed_out():
    # Alone on seed 0, `b` would win by far; the other seeds prefer `a`.
    validation = pd.DataFrame({"a": [5.0, 1.0, 1.0], "b": [0.0, 2.0, 2.5]})
    test = pd.DataFrame({"a": [50.0, 51.0, 52.0], "b": [60.0, 61.0, 62.0]})
    choice = select_options(validation, test)
    assert choice.chosen.to_dict() == {0: "a", 1: "b", 2: "b"}
    assert choice.errors.to_dict() == {0: 50.0, 1: 61.0, 2: 62.0}


def test_choose_with_holes():
    hole = math.nan
    validation = pd.DataFrame({"a": [1.0, 1, 1], "b": [2.0, hole, 2], "dead": [hole] * 3})
    test = validation + 10
    choice = select_options(validation, test)
    assert choice.chosen.to_dict() == {0: "a", 2: "a"} and choice.errors.to_dict() == {
        0: 11.0,
        2: 11.0,
    }
    choice = select_options(validation[:1], test[:1])
    assert choice.chosen.empty and choice.errors.empty
    choice = select_options(validation * hole, test)
    assert choice.chosen.empty and choice.errors.empty
