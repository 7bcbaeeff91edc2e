"""The rules of a verdict: two intervals, equivalence with a safeguard, families, seeds needed."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdpipe.analysis.claim import Finding, judge_findings
from kdpipe.analysis.contrasts import Contrast
from kdpipe.stats import replicates
from kdpipe.stats.error_provenance import ImageLevelEstimate
from kdpipe.stats.power import find_detectable_effect, find_seeds_needed
from kdpipe.stats.variance_components import decompose_variance

NOISE = [0.00, 0.11, -0.07, 0.05, -0.09]


def series(mean, scale=1.0):
    return pd.Series([mean + scale * noise for noise in NOISE])


def decided(*contrasts, **others):
    return judge_findings({"X": ("title", True, Finding(list(contrasts), "how"))}, **others)[0]


def with_images(mean, spread, images=50):
    """Seeds that nearly agree on images that do not: the images make the wider interval."""
    random = np.random.default_rng(0)
    grid = random.normal(0, spread, (1, images)) + random.normal(0, 0.1, (5, images))
    grid += mean - grid.mean()
    return Contrast(
        "x",
        pd.Series(grid.mean(axis=1)),
        delta=0.5,
        image_estimate=ImageLevelEstimate(decompose_variance(grid, *AXES)),
    )


AXES = ("seed", "image")


def test_the_wider_interval_decides_and_its_p_is_the_larger():
    contrast = with_images(1.0, 6.0)
    alone = Contrast("x", contrast.values, delta=0.5)
    assert decided(alone).verdict == "supports" and decided(contrast).verdict == "cannot tell"
    assert contrast.image_estimate is not None and contrast.image_estimate.estimate is not None
    both = contrast.image_estimate.estimate
    assert (
        decided(contrast).p == pytest.approx(both.compute_p_above())
        and both.compute_p_above() > alone.p_for
    )
    low, high = both.compute_interval()
    assert decided(contrast).half_width == pytest.approx((high - low) / 2)
    actual = decided(contrast)
    assert actual.images is not None and actual.images["low"] == pytest.approx(low)
    assert actual.low == pytest.approx(alone.summary.low)  # and that over seeds is printed too


@pytest.mark.parametrize("asks", ["not better", "same", "above"])
def test_equivalence_is_said_in_both_directions_by_the_larger_p(asks):
    calm, noisy = with_images(0.0, 0.3), with_images(0.0, 3.0)
    words = []
    for one in (calm, noisy):
        words.append(
            decided(Contrast("x", one.values, asks, 0.5, image_estimate=one.image_estimate)).verdict
        )
    assert words == ["no worthwhile difference" if asks == "above" else "supports", "cannot tell"]


def test_no_difference_is_only_said_where_one_would_have_been_seen():
    # By the interval alone this lies above -delta; but an effect of delta would often be missed.
    lucky = Contrast("x", series(0.2, 3.8), "not better", 0.5)
    assert lucky.p_for < 0.025
    se = lucky.summary.sd / math.sqrt(5)
    assert find_detectable_effect(se, 4, 0.025) > 0.5
    actual = decided(lucky)
    assert actual.verdict == "cannot tell" and actual.p_corrected < 0.05
    assert actual.detectable == pytest.approx(find_detectable_effect(se, 4, 0.025))
    assert decided(Contrast("x", series(0.0, 0.5), "not better", 0.5)).verdict == "supports"
    # What is shown to be worse was seen, so it is not better.
    assert decided(Contrast("x", series(2.0, 3.0), "not better", 0.5)).verdict == "supports"
    same = Contrast("x", series(0.0, 3.8), "same", 0.5)
    assert same.p_for < 0.025 and decided(same).verdict == "cannot tell"


def test_what_is_shown_beside_contradicts_is_what_contradicts():
    actual = decided(
        Contrast("fine", series(1.0), delta=0.5),
        Contrast("weak", series(0.3, 5.0), delta=0.5),
        Contrast("contrary", series(-2.0), delta=0.5),
    )
    assert actual.verdict == "contradicts" and actual.contrary == "contrary"
    assert actual.effect == pytest.approx(series(-2.0).mean()) and actual.high < 0


def test_the_primary_claims_can_be_those_of_a_registration():
    part = Finding([Contrast("x", series(0.15), delta=0.0)], "")
    actual = {key: ("title", key == "A", part) for key in "ABC"}
    of_code = {v.id: v for v in judge_findings(actual)}
    assert (of_code["A"].tests, of_code["B"].tests) == (2, 4)
    registered = {v.id: v for v in judge_findings(actual, primary=["B", "C"])}
    assert [registered[key].primary for key in "ABC"] == [False, True, True]
    assert (registered["A"].tests, registered["B"].tests) == (2, 4)
    assert [v.id for v in judge_findings(actual, primary=["C"])] == ["A", "B", "C"]


def test_the_family_error_is_the_stated_one_where_nothing_is_so():
    # Four claims of no effect at all: with Holm in each direction it was 9.2 to 9.7 %.
    random, false, times = np.random.default_rng(1), 0, 1500
    for _ in range(times):
        claims = {
            str(k): ("t", True, Finding([Contrast("x", pd.Series(random.normal(0, 1, 5)))], ""))
            for k in range(4)
        }
        false += any(v.verdict != "cannot tell" for v in judge_findings(claims))
    assert 0.035 < false / times < 0.065


def test_the_seeds_needed_count_the_family_and_the_contrasts():
    sd = series(0.0).std()
    noisy = Contrast("c", series(0.3, 8.0))
    actual = decided(noisy)
    assert actual.verdict == "cannot tell"
    assert actual.seeds_needed == find_seeds_needed(8 * sd, 0.3, 0.8, 0.025)
    # A family of three claims, of which this one needs two contrasts.
    rest = {key: ("title", True, Finding([Contrast("x", series(0.5))], "")) for key in "YZ"}
    both = Finding([noisy, Contrast("d", series(0.4, 8.0))], "")
    (expected, *_) = judge_findings({"X": ("title", True, both)} | rest)
    assert expected.seeds_needed == find_seeds_needed(8 * sd, 0.3, 0.9, 0.05 / 6)
    opposed = Finding([noisy, Contrast("d", series(-0.4, 8.0))], "")
    (against, *_) = judge_findings({"X": ("title", True, opposed)} | rest)
    assert against.seeds_needed == find_seeds_needed(8 * sd, 0.4, 0.8, 0.05 / 12)
    assert Contrast("a", series(0.03)).solve_seeds_to_support(0.8, 0.05) is not None
    assert Contrast("b", series(0.05)).solve_seeds_to_oppose(0.8, 0.05) is None


def test_seeds_needed_is_the_number_at_which_four_of_five_studies_decide():
    # An effect of 0.5 with sd 0.7; a claim alone in its family is tested at 0.025 on each side.
    n = find_seeds_needed(0.7, 0.5, 0.8, 0.025)
    assert n is not None
    random, times = np.random.default_rng(2), 600
    message = [
        decided(Contrast("x", pd.Series(random.normal(0.5, 0.7, n)))).verdict for _ in range(times)
    ]
    assert message.count("supports") / times == pytest.approx(0.8, abs=0.06)


def test_seeds_needed_are_seeds_where_there_are_splits_too():
    """Four seeds in three splits are twelve values, of which five seeds may be enough."""
    by_seed = np.array([-0.1, 0.55, 0.9, 0.25])
    units_of = [
        replicates.make_replicate_id(seed, split) for split in range(3) for seed in range(4)
    ]
    actual = decided(Contrast("x", pd.Series(np.tile(by_seed, 3), units_of)))
    assert actual.verdict == "cannot tell" and actual.n == 12
    expected = find_seeds_needed(by_seed.std(ddof=1), 0.4, 0.8, 0.025)
    assert expected == 11 and actual.seeds_needed == expected


def test_seeds_needed_with_three_splits_are_as_many_as_decide_four_of_five_studies():
    """The variance of three splits is hardly known, so t of its degrees of freedom is too sure."""
    random, sd = np.random.default_rng(5), {"seed": math.sqrt(0.2), "both": math.sqrt(0.3)}
    # Six seeds whose mean squares are those of these deviations, and of none between splits.
    rows, rest = random.normal(0, 1, (6, 1)), random.normal(0, 1, (6, 3))
    rows -= rows.mean()
    rest += rest.mean() - rest.mean(axis=0) - rest.mean(axis=1)[:, None]
    rows *= math.sqrt((0.3 + 3 * 0.2) / (3 * (rows**2).sum() / 5))
    rest *= math.sqrt(0.3 / ((rest**2).sum() / 10))
    units_of = [
        replicates.make_replicate_id(seed, split) for seed in range(6) for split in range(3)
    ]
    contrast = Contrast("x", pd.Series((0.7 + rows + rest).ravel(), units_of))
    one = contrast.estimates[0]
    assert one.components == pytest.approx({("seed",): 0.2, ("split",): 0, ("seed", "split"): 0.3})
    n = contrast.solve_seeds_to_support(0.8, 0.0025)
    noise, fixed = (
        math.sqrt(6 * (one.variance - one.compute_variance_without("seed"))),
        one.compute_variance_without("seed"),
    )
    before = find_seeds_needed(
        noise, 0.7, 0.8, 0.0025, fixed, lambda seeds: one.compute_expected_df("seed", seeds)
    )
    assert n is not None and before is not None and before < n

    def actual(seeds, times=1500):
        count = 0
        for _ in range(times):
            study = 0.7 + random.normal(0, sd["seed"], (seeds, 1))
            study = study + random.normal(0, sd["both"], (seeds, 3))
            count += decompose_variance(study, "seed", "split").compute_p_above() < 0.0025
        return count / times

    assert actual(n) == pytest.approx(0.8, abs=0.035)
    assert actual(before) < 0.765


def test_images_that_are_too_few_are_not_made_up_for_by_seeds():
    assert with_images(0.1, 6.0).solve_seeds_to_support(0.8, 0.025) is None
    bare = Contrast("x", with_images(0.1, 6.0).values, delta=0.5)
    assert bare.solve_seeds_to_support(0.8, 0.025) is not None


def test_tests_are_those_of_scipy():
    contrast = Contrast("x", series(0.3), "not better", 0.2)
    expected = stats.ttest_1samp(series(0.3), -0.2, alternative="less").pvalue
    assert contrast.p_against == pytest.approx(expected)
