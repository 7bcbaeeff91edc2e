"""Holm's correction against numbers worked out by hand."""

import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from kdpipe.stats.multiple_testing import adjust_holm


def test_holm_by_hand():
    # sorted: .01 * 4, .02 * 3, .03 * 2 (not below the one before), .04 * 1 (the same)
    assert adjust_holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert adjust_holm([0.9, 0.6]) == [1.0, 1.0]
    assert adjust_holm([]) == []


def test_holm_does_not_count_what_was_not_tested():
    adjusted = adjust_holm([0.01, math.nan, 0.04])
    assert adjusted[::2] == pytest.approx([0.02, 0.04])
    assert math.isnan(adjusted[1])


def test_holm_agrees_with_statsmodels():
    for seed in range(20):
        p = np.random.default_rng(seed).beta(0.3, 1.0, 1 + seed)
        assert adjust_holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1])
