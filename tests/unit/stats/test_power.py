"""Power against G*Power's tables, scipy's non-central t, and simulated tests."""

import math

import numpy as np
import pytest
from scipy import stats

from kdpipe.stats.power import compute_power, find_detectable_effect, find_seeds_needed
from kdpipe.stats.variance_components import CrossedMean, decompose_variance


def test_power_is_that_of_the_noncentral_t():
    for df, level, effect in ((4, 0.05, 1.3), (2, 0.01, 3.0), (29, 0.002, 0.7)):
        actual = compute_power(effect, 0.4, df, level)
        expected = stats.nct.sf(stats.t.isf(level, df), df, effect / 0.4)
        assert actual == pytest.approx(expected, rel=1e-6)
    assert compute_power(0.0, 1.0, 4, 0.05) == pytest.approx(0.05)
    assert (compute_power(0.1, 0.0, 4), compute_power(0.0, 0.0, 4)) == (1.0, 0.0)
    assert math.isnan(compute_power(math.nan, 1.0, 4)) and math.isnan(
        compute_power(1.0, math.nan, 4)
    )


def test_power_is_the_share_of_simulated_tests():
    values = np.random.default_rng(0).normal(0.8, 1.0, (20_000, 5))
    t = values.mean(axis=1) / (values.std(axis=1, ddof=1) / math.sqrt(5))
    actual = (t > stats.t.isf(0.05, 4)).mean()
    assert compute_power(0.8, 1 / math.sqrt(5), 4) == pytest.approx(actual, abs=0.012)


@pytest.mark.parametrize("level", [0.05, 0.05 / 8, 0.05 / 44])
def test_what_is_detectable_has_that_power(level):
    for df in (2, 4, 9, 123.4):
        assert compute_power(
            find_detectable_effect(0.3, df, level), 0.3, df, level
        ) == pytest.approx(0.8, abs=1e-4)
    assert find_detectable_effect(0.0, 4) == 0.0 and math.isnan(find_detectable_effect(math.nan, 4))


def test_seeds_needed_agrees_with_published_tables():
    # One-sided, 5 %, power 80 %: n = 27 for d = 0.5 and 156 for d = 0.2 (G*Power).
    assert find_seeds_needed(1.0, 0.5) == 27
    assert find_seeds_needed(1.0, -0.2) == 156
    assert find_seeds_needed(0.0, 0.1) == 3 and find_seeds_needed(0.01, 5.0) == 3
    assert find_seeds_needed(1.0, 0.0) is None and find_seeds_needed(math.nan, 0.5) is None
    assert find_seeds_needed(1.0, 0.01) == pytest.approx(61_826, abs=2)


def test_seeds_do_not_take_the_images_away():
    n = find_seeds_needed(1.0, 0.5, fixed=0.03)
    assert n is not None and n > 27
    assert compute_power(0.5, math.sqrt(1 / n + 0.03), n - 1) >= 0.8
    assert compute_power(0.5, math.sqrt(1 / (n - 1) + 0.03), n - 2) < 0.8
    assert find_seeds_needed(1.0, 0.5, fixed=0.05) is None


def test_three_splits_keep_the_degrees_of_freedom_down():
    """Their noise, 0.35^2 / 3, is soon the larger part; the seeds' is (0.3^2 + 0.5^2 / 3) / n."""
    parts = {("seed",): 0.3**2, ("split",): 0.35**2, ("seed", "split"): 0.5**2}
    known = CrossedMean(1.1, 0.0, 2.0, {"seed": 4, "split": 3}, parts)
    sd, fixed = math.sqrt(0.3**2 + 0.5**2 / 3), 0.35**2 / 3
    assert (
        find_seeds_needed(
            sd, 1.1, 0.8, 0.0125, fixed, lambda n: known.compute_expected_df("seed", n)
        )
        is None
    )
    n = find_seeds_needed(sd, 1.1, 0.8, 0.0125, fixed)  # as if they were known
    assert n is not None
    random, actual = np.random.default_rng(0), []
    for _ in range(400):
        by_seed, by_split = random.normal(0, 0.3, (n, 1)), random.normal(0, 0.35, 3)
        values = 1.1 + by_seed + by_split + random.normal(0, 0.5, (n, 3))
        actual.append(decompose_variance(values, "seed", "split").compute_p_above() < 0.0125)
    assert np.mean(actual) < 0.7


def test_many_seeds_are_counted_where_splits_leave_enough():
    n = find_seeds_needed(1.0, 2.0, 0.8, 0.05, 0.1, lambda n: 2.0)
    assert n is not None and compute_power(2.0, math.sqrt(1 / n + 0.1), 2.0) >= 0.8
    assert compute_power(2.0, math.sqrt(1 / (n - 1) + 0.1), 2.0) < 0.8
