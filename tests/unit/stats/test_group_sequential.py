"""Looks: published bounds, an independent integral, and simulated studies through the t test."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from kdpipe.stats import group_sequential
from kdpipe.stats.group_sequential import (
    SINGLE_ANALYSIS,
    InterimAnalysis,
    compute_alpha_spent,
    compute_nominal_levels,
    compute_type1_error,
)
from kdpipe.stats.multiple_testing import adjust_holm

# Of equal steps at 0.025 one-sided: the spending bounds of O'Brien-Fleming's type as programs for
# them print them (Reboussin, DeMets, Kim and Lan, 2000; the R package ldbounds).
PUBLISHED = {
    2: [2.9626, 1.9686],
    3: [3.7103, 2.5114, 1.9930],
    4: [4.3326, 2.9631, 2.3590, 2.0141],
    5: [4.8769, 3.3569, 2.6803, 2.2898, 2.0310],
}


@pytest.mark.parametrize("count", PUBLISHED)
def test_bounds_are_the_published_ones(count):
    actual = compute_nominal_levels([(i + 1) / count for i in range(count)], 0.025)
    assert stats.norm.isf(actual) == pytest.approx(PUBLISHED[count], abs=2e-4)


@pytest.mark.parametrize("times", [[0.375, 0.625, 1.0], [0.3, 1.0], [1.0]])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_what_is_spent_by_each_look_is_what_a_multivariate_normal_says(times, alpha):
    """scipy's integral of the joint distribution of the sums, by another method (Genz)."""
    bounds = stats.norm.isf(compute_nominal_levels(times, alpha))
    for count, time in enumerate(times, 1):
        part = np.array(times[:count])
        correlation = np.sqrt(np.minimum.outer(part, part) / np.maximum.outer(part, part))
        none = stats.multivariate_normal(np.zeros(count), correlation).cdf(bounds[:count])
        assert 1 - none == pytest.approx(compute_alpha_spent(time, alpha), abs=2e-5)


def test_the_looks_together_err_as_often_as_was_said_and_peeking_more_often():
    times = [0.375, 0.625, 1.0]
    assert compute_type1_error(times, compute_nominal_levels(times, 0.05)) == pytest.approx(
        0.05, abs=1e-9
    )
    assert compute_nominal_levels([1.0], 0.05) == [pytest.approx(0.05, abs=1e-12)]
    # Two tests at 5 % whose statistics correlate by sqrt(5/7): scipy's bivariate normal.
    rho, z = math.sqrt(5 / 7), stats.norm.isf(0.05)
    both = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([z, z])
    assert compute_type1_error([5 / 7, 1.0], [0.05, 0.05]) == pytest.approx(1 - both, abs=1e-6)


@pytest.mark.parametrize("times", [[0.5, 0.4, 1.0], [0.5, 0.5, 1.0], [0.0, 1.0], [0.5], []])
def test_shares_that_do_not_rise_to_1_are_no_looks(times):
    with pytest.raises((ValueError, IndexError)):
        compute_nominal_levels(times)


def test_an_early_look_at_a_few_of_thousands_finds_nothing():
    """Its share of the error rate is no number of double precision; the last has all of it."""
    assert compute_nominal_levels([3 / 5000, 1.0], 0.05) == [0.0, pytest.approx(0.05, abs=1e-12)]
    assert InterimAnalysis((3, 5000), 1).adjust_p(1e-12) == 0.5
    assert InterimAnalysis((3, 5000), 2).adjust_p(0.03) == pytest.approx(0.03, rel=1e-6)
    assert 0 < compute_nominal_levels([3 / 300, 1.0], 0.05)[0] < 1e-80


@pytest.mark.parametrize("number", [1, 2, 3])
def test_overall_is_the_error_rate_whose_level_is_p(number):
    look = InterimAnalysis((3, 5, 8), number)
    for alpha in (1e-8, 1e-4, 0.00321, 0.05, 0.31):
        assert look.adjust_p(look.compute_level(alpha)) == pytest.approx(alpha, rel=2e-3)
    grid = [look.adjust_p(p) for p in (0, 1e-30, 1e-9, 1e-4, 0.01, 0.2, 0.45, 0.7, 1.0)]
    assert grid == sorted(grid) and grid[0] == group_sequential.MIN_ALPHA and grid[-1] == 1.0
    assert all(look.adjust_p(p) >= p for p in (1e-6, 0.01, 0.2, 0.9))
    assert math.isnan(look.adjust_p(math.nan))


def test_one_look_changes_nothing():
    assert [SINGLE_ANALYSIS.adjust_p(p) for p in (0.0, 1e-12, 0.3)] == [0.0, 1e-12, 0.3]
    assert SINGLE_ANALYSIS.compute_level(0.03) == pytest.approx(0.03)


def t_tests(values: np.ndarray, counts) -> np.ndarray:
    """(looks, studies, claims): p of a one-sided t test of the first seeds, for each count."""
    return np.array(
        [
            stats.ttest_1samp(values[:count], 0.0, axis=0, alternative="greater").pvalue
            for count in counts
        ]
    )


def test_simulated_studies_err_in_5_percent_at_looks_and_in_more_without():
    """20,000 studies of pure noise; a standard error of 5 % is 0.15 %."""
    counts = (3, 5, 8)
    p = t_tests(np.random.default_rng(0).normal(size=(8, 20_000)), counts)
    allowed = [InterimAnalysis(counts, number).compute_level() for number in (1, 2, 3)]
    spending = (p < np.array(allowed)[:, None]).any(axis=0).mean()
    peeking = (p < 0.05).any(axis=0).mean()
    assert 0.045 < spending < 0.0555 and peeking > 0.09


def test_a_family_at_looks_errs_in_5_percent_too():
    """Three claims of pure noise, in both directions, Holm on what `overall` makes of their p."""
    counts = (3, 5, 8)
    values = np.random.default_rng(1).normal(size=(8, 4_000, 3))
    p = t_tests(values, counts)
    both = np.concatenate([p, 1 - p], axis=2)
    errors = np.zeros(len(both[0]), bool)
    for number, at_look in enumerate(both, 1):
        look = InterimAnalysis(counts, number)
        least = np.array([look.adjust_p(one) for one in at_look.min(axis=1)])
        errors |= least * 6 < 0.05  # Holm's first step, the only one that counts of pure noise
    assert 0.038 < errors.mean() < 0.06
    few = [[InterimAnalysis(counts, 2).adjust_p(one) for one in row] for row in both[1][:200]]
    firsts = [min(adjust_holm(row)) < 0.05 for row in few]
    assert firsts == [min(row) * 6 < 0.05 for row in few]


def test_looking_after_every_seed_is_what_spending_replaces():
    """Of 16 looks the t statistics correlate a little less than normal ones: 5.6 %, not 5."""
    counts = range(5, 21)
    p = t_tests(np.random.default_rng(2).normal(size=(20, 20_000)), counts)
    assert (p < 0.05).any(axis=0).mean() == pytest.approx(0.166, abs=0.01)
    allowed = compute_nominal_levels([count / 20 for count in counts])
    assert (p < np.array(allowed)[:, None]).any(axis=0).mean() == pytest.approx(0.053, abs=0.006)
    assert all(low < high for low, high in itertools.pairwise(allowed))
