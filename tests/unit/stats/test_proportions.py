"""Intervals of shares, against statsmodels, a count of all outcomes, and a hand calculation."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from kdpipe.stats.proportions import estimate_paired_difference, estimate_proportion


@pytest.mark.parametrize(("right", "of"), [(0, 30), (1, 30), (293, 360), (700, 700)])
def test_a_share_has_wilsons_interval(right, of):
    actual = estimate_proportion(np.arange(of) < right)
    low, high = proportion_confint(right, of, method="wilson")
    assert actual.value == pytest.approx(100 * right / of)
    assert (actual.low, actual.high) == pytest.approx((100 * low, 100 * high), abs=1e-9)


def test_a_difference_on_the_same_images_by_hand():
    """300 images: 5 that the first alone gets right, 11 that the second alone does."""
    a, b = np.ones(300, bool), np.ones(300, bool)
    b[:5], a[5:16] = False, False
    actual = estimate_paired_difference(a, b)
    # Half an image in each cell: 302 images, cells of 5.5 and 11.5.
    moved = (5.5 - 11.5) / 302
    se = math.sqrt(5.5 + 11.5 - (5.5 - 11.5) ** 2 / 302) / 302
    assert actual.value == pytest.approx(-2.0)
    assert actual.low == pytest.approx(100 * (moved - 1.959964 * se), abs=1e-5)
    assert actual.high == pytest.approx(100 * (moved + 1.959964 * se), abs=1e-5)
    other = estimate_paired_difference(b, a)
    assert (other.value, other.low, other.high) == pytest.approx((2, -actual.high, -actual.low))


def test_two_that_never_disagree_may_differ_elsewhere():
    actual = estimate_paired_difference(np.ones(100, bool), np.ones(100, bool))
    assert actual.value == 0 and -4 < actual.low < -1 and 1 < actual.high < 4


@pytest.mark.parametrize(("own_value", "reference"), [(0.02, 0.02), (0.01, 0.05), (0.2, 0.1)])
def test_the_interval_of_a_difference_holds_as_often_as_it_says(own_value, reference):
    """Every outcome of 60 images by its probability: 95 %, give or take what counts jump by."""
    n, held = 60, 0.0
    true = 100 * (own_value - reference)
    for b in range(25):
        for c in range(25):
            chance = stats.multinomial.pmf(
                [b, c, n - b - c], n, [own_value, reference, 1 - own_value - reference]
            )
            if chance < 1e-7:
                continue
            at = np.arange(n)
            actual = estimate_paired_difference(at < n - c, (at < n - b - c) | (at >= n - c))
            held += chance * (actual.low <= true <= actual.high)
    assert held > 0.93
