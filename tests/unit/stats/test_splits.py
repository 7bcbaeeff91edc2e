"""Means of values crossed over seeds and splits: by hand, and by how often they are right."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdpipe.stats import replicates
from kdpipe.stats.intervals import (
    describe_difference,
    summarize,
    summarize_columns,
    summarize_paired,
    t_test_greater,
)

# Three seeds down, three splits across.
BY_HAND = np.array([[1.0, 4.0, 1.0], [2.0, 5.0, 5.0], [3.0, 9.0, 6.0]])


def by_unit(values: np.ndarray) -> pd.Series:
    """A table of seeds x splits as a series by unit, in no order."""
    places = [(seed, split) for seed in range(len(values)) for split in range(len(values[0]))]
    actual = {
        replicates.make_replicate_id(10 + seed, split): values[seed, split]
        for seed, split in places
    }
    return pd.Series(dict(reversed(actual.items())))


def test_a_mean_over_seeds_and_splits_by_hand():
    """Means of rows 2, 4, 6 and of columns 2, 6, 4 around 4: both mean squares are 12."""
    s = summarize(by_unit(BY_HAND))
    rest = BY_HAND - BY_HAND.mean(0) - BY_HAND.mean(1)[:, None] + 4
    within = (rest**2).sum() / 4
    variance = (12 + 12 - within) / 9
    df = variance**2 / ((12**2 / 2 + 12**2 / 2 + within**2 / 4) / 81)
    half = stats.t.ppf(0.975, max(2, df)) * math.sqrt(variance)
    assert (s.n, s.min_levels, s.mean, s.median) == (9, 3, 4.0, 4.0)
    assert (s.se, s.df) == pytest.approx((math.sqrt(variance), max(2, df)))
    assert (s.low, s.high) == pytest.approx((4 - half, 4 + half))
    assert t_test_greater(by_unit(BY_HAND), 1.0) == pytest.approx(
        stats.t.sf(3 / math.sqrt(variance), max(2, df))
    )
    # As many values of nine seeds would look far surer than they are.
    assert s.half_width > 2 * summarize(BY_HAND.ravel()).half_width


def test_one_split_is_what_it_was_whatever_its_number():
    plain = pd.Series({1: 2.0, 2: 4.0, 3: 3.0})
    moved = pd.Series(
        plain.to_numpy(), index=replicates.make_replicate_id(plain.index.to_numpy(float), 7)
    )
    assert (
        summarize(plain)
        == summarize(plain.tolist())
        == summarize(moved)
        == summarize(moved.to_dict())
    )
    one_seed = pd.Series(
        {
            replicates.make_replicate_id(5, split): value
            for split, value in enumerate([2.0, 4.0, 3.0])
        }
    )
    assert summarize(one_seed) == summarize(plain)


def test_a_seed_that_lacks_a_split_is_left_out_and_counted():
    whole, holed = by_unit(BY_HAND), by_unit(np.vstack([BY_HAND, [7.0, 8.0, math.nan]]))
    assert summarize(holed) == summarize(whole)
    actual = summarize_paired(holed + 1, by_unit(np.ones((4, 3))))
    assert (actual.n, actual.mean, actual.dropped) == (9, 4.0, 3)


@pytest.mark.parametrize("shape", [(5, 2), (2, 5)])
def test_of_two_splits_or_two_seeds_there_is_no_interval(shape):
    s = summarize(by_unit(np.arange(10.0).reshape(shape)))
    assert (s.n, s.min_levels, s.mean) == (10, 2, 4.5) and math.isnan(s.low) and math.isnan(s.high)
    assert describe_difference(s) == "too few seeds"


def test_many_measures_at_once_are_each_by_itself():
    one, other = by_unit(BY_HAND), by_unit(BY_HAND**2)
    both = summarize_columns(np.column_stack([one, other]), replicate_ids=one.index.to_numpy())
    assert both == [summarize(one), summarize(other)]


def test_intervals_hold_the_truth_as_often_as_they_say_and_seeds_alone_do_not():
    """1,000 studies of 5 seeds in 4 splits, whose noise is of the split for the most part."""
    random = np.random.default_rng(0)
    shape = (1000, 5, 4)
    noise = random.normal(0, 0.4, (1000, 5, 1)) + random.normal(0, 1.0, (1000, 1, 4))
    values = noise + random.normal(0, 0.5, shape)
    actual = [summarize(by_unit(study)) for study in values]
    hit = np.mean([s.low < 0 < s.high for s in actual])
    of_one_kind = [summarize(study.ravel()) for study in values]
    naive = np.mean([s.low < 0 < s.high for s in of_one_kind])
    assert 0.93 <= hit <= 0.98 and naive < 0.75
