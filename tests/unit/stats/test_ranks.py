"""Ranks by mean error and their uncertainty, against every draw of seeds and against scipy."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdpipe.stats import posterior, replicates
from kdpipe.stats.ranks import correlate_ranks, rank_options

ERRORS = pd.DataFrame(
    {
        "a": [10.0, 11.0, 9.0, 10.0, 10.5],
        "b": [10.2, 10.4, 9.9, 9.8, 10.9],
        "c": [12.0, 13.0, 12.5, 12.1, 12.2],
    }
)


def every_draw():
    """All 5^5 draws of five seeds, each as likely as any other: a slow twin."""
    values = ERRORS.to_numpy()
    return [values[list(seeds)].mean(axis=0) for seeds in itertools.product(range(5), repeat=5)]


def test_the_chance_of_the_best_is_that_of_the_model():
    actual = rank_options(ERRORS)
    assert [(actual[name].rank, actual[name].total) for name in "abc"] == [(1, 3), (2, 3), (3, 3)]
    model = posterior.fit_posterior(ERRORS.to_numpy().T, np.arange(3))
    # Of two normal ones (the third is far) the chance is that of their difference.
    mean = model.mean[1] - model.mean[0]
    apart = np.array([-1, 1, 0])
    sd = np.sqrt(apart @ model.covariance @ apart)
    assert actual["a"].p_best == pytest.approx(stats.t.cdf(mean / sd, model.df), abs=0.02)
    assert sum(one.p_best for one in actual.values()) == pytest.approx(1)
    assert (actual["a"].low, actual["a"].high) == (1, 2)
    assert (actual["c"].low, actual["c"].high) == (3, 3)
    assert rank_options(ERRORS) == actual  # drawn, and yet the same


def test_ties_share_their_place():
    actual = rank_options(
        pd.DataFrame({"a": [1.0] * 5, "b": [1.0] * 5, "c": [0.1, 0.2, 0.3, 0.1, 0.1]})
    )
    assert (actual["a"].rank, actual["b"].rank, actual["c"].rank) == (2.5, 2.5, 1.0)
    assert actual["a"].p_best == pytest.approx(0, abs=0.01) and actual["c"].low == 1
    same = rank_options(
        pd.DataFrame({"a": [0.3, 0.1, 0.2, 0.7, 0.5], "b": [0.3, 0.1, 0.2, 0.7, 0.5]})
    )
    assert same["a"].p_best == pytest.approx(0.5, abs=0.03) and same["a"].rank == 1.5


def test_what_has_no_result_is_set_aside_and_seeds_are_those_of_all():
    holes = ERRORS.assign(d=math.nan)
    holes.loc[[0, 1, 3], "a"] = math.nan
    actual = rank_options(holes)
    assert set(actual) == {"a", "b", "c"}
    assert math.isnan(actual["a"].p_best)  # two seeds have all
    assert actual["a"].rank == 1 and actual["a"].total == 3
    assert rank_options(holes[["d"]]) == {} == rank_options(pd.DataFrame())


def test_of_noise_it_is_seldom_sure():
    """Two options that are one: how often the range of ranks holds only one of their places."""
    random = np.random.default_rng(3)
    pairs = (pd.DataFrame({"a": a, "b": b}) for a, b in random.normal(size=(60, 2, 5)))
    sure = np.mean([one["a"].low == one["a"].high for one in map(rank_options, pairs)])
    assert sure < 0.1


def of_units(values: np.ndarray) -> pd.DataFrame:
    """Errors (seeds, splits, options) by unit, in another order than they are paired in."""
    seeds, splits, options = values.shape
    places = [(seed, split) for split in range(splits) for seed in range(seeds)]
    rows = [values[seed, split] for seed, split in places]
    index = [replicates.make_replicate_id(seed, split) for seed, split in places]
    return pd.DataFrame(rows, index, list("abc")[:options])


def test_of_several_splits_these_are_drawn_too():
    """Two options that differ by what three splits do to them, in each of five seeds alike."""
    by_split = np.array([1.0, -0.4, 0.3])
    values = np.zeros((5, 3, 2))
    values[:, :, 1] = by_split
    actual = rank_options(of_units(values))
    assert actual["a"].rank == 1 and (actual["a"].low, actual["a"].high) == (1, 2)
    assert 0.5 < actual["a"].p_best < 0.85  # of three splits two agree
    # Fifteen seeds would be surer: seeds alone say nothing of other splits.
    alone = rank_options(pd.DataFrame(values.reshape(15, 2), columns=["a", "b"]))
    assert alone["a"].p_best > actual["a"].p_best + 0.05

    whole = of_units(values)
    lacking = pd.concat(
        [whole, pd.DataFrame([[9.0, 0.0]], [replicates.make_replicate_id(5, 0)], ["a", "b"])]
    )
    assert rank_options(lacking) == actual  # a seed that lacks two splits
    two = rank_options(of_units(values[:, :2]))
    assert two["a"].rank == 1 and math.isnan(two["a"].p_best)


def test_a_rho_of_several_splits_is_about_other_splits_too():
    random = np.random.default_rng(5)
    values = np.arange(3.0) + random.normal(0, 1.5, (1, 3, 3)) + np.zeros((5, 1, 1))
    expected = pd.Series([1.0, 2.0, 3.0], list("abc"))
    _, s = correlate_ranks(of_units(values), expected)
    assert s.mean == pytest.approx(stats.spearmanr(values.mean(axis=(0, 1)), expected)[0])
    rhos = [
        stats.spearmanr(values[0][list(draw)].mean(axis=0), expected)[0]
        for draw in itertools.product(range(3), repeat=3)
    ]
    assert (s.low, s.high) == pytest.approx((min(rhos), max(rhos)))


def test_rho_is_scipys_by_seed_and_of_the_means():
    expected = pd.Series({"c": 30.0, "a": 27.0, "b": 25.0})
    by_seed, s = correlate_ranks(ERRORS, expected)
    for seed, row in ERRORS.iterrows():
        assert by_seed[seed] == pytest.approx(stats.spearmanr(row[expected.index], expected)[0])
    means = ERRORS.mean()[expected.index]
    assert s.mean == pytest.approx(stats.spearmanr(means, expected)[0]) == pytest.approx(0.5)
    rhos = {
        round(float(stats.spearmanr([c, a, b], expected)[0]), 6)
        for a, b, c in every_draw()
        if abs(a - b) > 1e-9
    }
    assert rhos == {0.5, 1.0} and (s.low, s.high) == pytest.approx((0.5, 1.0))
    assert s.n == 5


def test_rho_of_few_seeds_or_of_ties():
    expected = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0})
    by_seed, s = correlate_ranks(ERRORS[:3], expected)
    assert s.n == 3 and s.mean == 1 and math.isnan(s.low)
    by_seed, s = correlate_ranks(ERRORS * 0, expected)
    assert (by_seed == 0).all() and (s.mean, s.low, s.high) == (0, 0, 0)
    by_seed, s = correlate_ranks(ERRORS * math.nan, expected)
    assert by_seed.empty and s.n == 0 and math.isnan(s.mean)
