"""Direction and size of a difference: two statements, each with 5 % of its own."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdpipe.analysis import claim
from kdpipe.analysis.claim import Finding, judge_findings
from kdpipe.analysis.contrasts import Contrast
from kdpipe.config.schema import SmallestEffects
from kdpipe.report import page
from kdpipe.stats.error_provenance import ImageLevelEstimate
from kdpipe.stats.group_sequential import InterimAnalysis
from kdpipe.stats.power import Spread, compute_contrast_power
from kdpipe.stats.variance_components import decompose_variance

DELTA = 0.5


def exact(mean, sd, n):
    """Seeds with exactly this mean and standard deviation."""
    steps = np.linspace(-1, 1, n)
    return pd.Series(mean + sd * steps / steps.std(ddof=1))


def contrast(mean, sd=0.2, n=10, delta=DELTA, **others):
    return Contrast("x", exact(mean, sd, n), delta=delta, **others)


def decided(*contrasts, family=1, **others):
    """The verdict on a claim in a family of so many."""
    finding = Finding(list(contrasts), "how")
    rest = {str(k): ("t", True, Finding([contrast(1.0)], "")) for k in range(family - 1)}
    return judge_findings({"X": ("t", True, finding)} | rest, **others)[0]


# --- what is said


@pytest.mark.parametrize(
    ("mean", "sd", "verdict", "size"),
    [
        (1.0, 0.2, "supports", "worth having"),
        (0.55, 0.2, "supports", "none"),
        (0.2, 0.15, "supports", "less than worth having"),
        (0.02, 0.15, "no worthwhile difference", "less than worth having"),
        (-0.2, 0.15, "contradicts", "less than worth having"),
        (-0.55, 0.2, "contradicts", "none"),
        (-1.0, 0.2, "contradicts", "worth having"),
        (0.2, 2.0, "cannot tell", "none"),
    ],
)
def test_five_words_and_the_size(mean, sd, verdict, size):
    actual = decided(contrast(mean, sd))
    assert (actual.verdict, actual.size) == (verdict, size)


def test_an_effect_of_a_fifth_of_the_smallest_is_supported_at_last():
    """By rules 1 it was contradicted in 73 % of studies at n = 10 and supported in 97 % at 160."""
    words = [decided(contrast(0.1, 0.3, n)).words for n in (10, 40, 160, 640)]
    assert words[0] == "no worthwhile difference"
    assert words[-2:] == ["supports, less than worth having"] * 2
    assert not any(word.startswith("contradicts") for word in words)


@pytest.mark.parametrize("hypothesis", ["not better", "same"])
def test_other_questions_have_no_size(hypothesis):
    actual = decided(Contrast("x", exact(0.0, 0.1, 10), hypothesis, DELTA))
    assert (actual.verdict, actual.size, actual.size_interval) == ("supports", "", None)
    assert actual.words == "supports"


def test_without_a_smallest_effect_there_is_no_size():
    actual = decided(contrast(1.0, delta=None))
    assert (actual.verdict, actual.size, actual.size_interval) == ("supports", "", None)
    assert decided(contrast(1.0), contrast(1.0, delta=None)).size == ""


# --- from which interval


@pytest.mark.parametrize("family", [1, 4])
def test_the_interval_is_students_at_the_bonferroni_level_of_the_family(family):
    actual = decided(contrast(0.7, 0.4, 8), family=family).size_interval
    oracle = stats.ttest_1samp(exact(0.7, 0.4, 8), 0).confidence_interval(1 - 0.05 / family)
    assert (actual.low, actual.high) == pytest.approx((oracle.low, oracle.high))
    assert actual.level == pytest.approx(1 - 0.05 / family) and actual.unit == "points"
    assert (actual.worth_below, actual.less_above) == pytest.approx((oracle.low, oracle.high))


def test_the_wider_of_the_two_intervals_counts():
    random = np.random.default_rng(0)
    grid = random.normal(0, 3.0, (1, 40)) + random.normal(0, 0.1, (5, 40))
    grid += 1.2 - grid.mean()
    both = decompose_variance(grid, "seed", "image")
    values = pd.Series(grid.mean(axis=1))
    alone = decided(Contrast("x", values, delta=DELTA))
    wider = decided(Contrast("x", values, delta=DELTA, image_estimate=ImageLevelEstimate(both)))
    assert (alone.size, wider.size) == ("worth having", "none")
    assert (wider.size_interval.low, wider.size_interval.high) == pytest.approx(
        both.compute_interval(0.95)
    )


def test_at_a_look_it_is_wider():
    interim = InterimAnalysis((5, 10), 1)
    level = 1 - 2 * interim.compute_level(0.025)
    actual = decided(contrast(0.7, 0.2, 5), interim=interim).size_interval
    oracle = stats.ttest_1samp(exact(0.7, 0.2, 5), 0).confidence_interval(level)
    assert actual.low == pytest.approx(oracle.low) and level > 0.98


def test_of_several_contrasts_all_are_beyond_or_all_within():
    strong, weak = contrast(1.5), contrast(0.2, 0.1)
    assert decided(strong, contrast(1.0)).words == "supports, worth having"
    assert decided(strong, weak).words == "supports"  # one is beyond, one is within
    assert decided(weak, contrast(0.1, 0.05)).words == "supports, less than worth having"
    mixed = decided(strong, contrast(0.0, 0.1))
    assert (mixed.verdict, mixed.size) == ("cannot tell", "none")
    assert decided(weak, contrast(0.0, 0.1)).verdict == "no worthwhile difference"


def test_one_contrary_contrast_is_enough_at_its_share_of_the_level():
    fine = contrast(1.0)
    n, sd = 10, 0.3
    at = {k: stats.t.ppf(1 - 0.025 / k, n - 1) * sd / math.sqrt(n) for k in (1, 3)}
    between = -DELTA - (at[1] + at[3]) / 2  # beyond by its own interval, not by that of three
    actual = decided(fine, fine, contrast(between, sd, n))
    assert (actual.verdict, actual.size) == ("contradicts", "none")
    assert decided(contrast(between, sd, n)).size == "worth having"
    actual = decided(fine, fine, contrast(-DELTA - 1.01 * at[3], sd, n))
    assert actual.words == "contradicts, worth having"
    assert actual.size_interval.worth_below == pytest.approx(DELTA + 0.01 * at[3])


def test_units_are_compared_in_smallest_effects():
    ce = contrast(0.03, 0.005, delta=0.01, unit="nat")
    kd = contrast(1.5, 0.3, delta=1.0, unit="points")
    actual = decided(ce, kd)
    low = stats.ttest_1samp(kd.values, 0).confidence_interval(0.95).low
    assert actual.size_interval.unit == "smallest effects" and actual.size_interval.delta == 1
    assert actual.size_interval.low == pytest.approx(low) and actual.size == "worth having"


# --- consistency

MEANS = (-2.0, -0.8, -0.2, 0.2, 0.8, 2.0)


def find_truth(means):
    """Direction and size of a claim, from the true effects of its contrasts."""
    direction = "supports" if min(means) > 0 else "contradicts"
    if all(abs(mean) < DELTA for mean in means):
        return direction, "less than worth having"
    is_worth = min(means) > DELTA or min(means) < -DELTA
    return direction, "worth having" if is_worth else "none"


@pytest.mark.parametrize("means", [(m,) for m in MEANS] + [*itertools.combinations(MEANS, 2)])
def test_verdict_and_size_converge_to_the_true_ones(means):
    random, words = np.random.default_rng(3), []
    for n in (50, 500, 5000):
        drawn = [Contrast("x", pd.Series(random.normal(m, 1.0, n)), delta=DELTA) for m in means]
        actual = decided(*drawn, family=3)
        words.append((actual.verdict, actual.size))
    assert words[-1] == find_truth(means)


def test_no_two_that_are_said_together_contradict_each_other():
    """Random claims: the size has the side of the direction, and the strip says the same."""
    random, seen = np.random.default_rng(4), set()
    for _ in range(1500):
        n, k = int(random.integers(3, 12)), int(random.integers(1, 4))
        drawn = [
            Contrast("x", pd.Series(random.normal(random.normal(0, 1), s, n)), delta=DELTA)
            for s in random.uniform(0.05, 1.0, k)
        ]
        actual = decided(*drawn, family=int(random.integers(1, 5)))
        size = actual.size_interval
        seen.add((actual.verdict, actual.size))
        assert size.worth_below <= size.less_above
        if actual.size == "worth having":
            assert size.worth_below > DELTA
            assert (actual.verdict == "supports") == (min(c.summary.mean for c in drawn) > DELTA)
            assert actual.verdict in ("supports", "contradicts")
        if actual.size == "less than worth having":
            assert size.less_above < DELTA
            assert all(abs(c.summary.mean) < DELTA for c in drawn)
        if actual.size == "none":
            assert size.less_above >= DELTA
            assert actual.verdict != "no worthwhile difference"
        if actual.verdict == "no worthwhile difference":
            assert actual.p_corrected >= 0.05 and actual.p_against_corrected >= 0.05
    assert len(seen) == 8  # all that are possible were seen


@pytest.mark.parametrize("true", [DELTA, 0.0])
def test_a_false_size_is_as_rare_as_stated(true):
    """Four claims at the border of what counts: both sizes are false. At 0 worth having is."""
    random, false, times = np.random.default_rng(5), 0, 1000
    for _ in range(times):
        claims = {
            str(k): (
                "t",
                True,
                Finding([Contrast("x", pd.Series(random.normal(true, 1.0, 6)), delta=DELTA)], ""),
            )
            for k in range(4)
        }
        words = {v.size for v in judge_findings(claims)} - {"none"}
        false += bool(words - ({"less than worth having"} if true == 0 else set()))
    rate = false / times
    assert rate < 0.065 and (rate > 0.02 if true else rate < 0.03)


def test_the_seeds_needed_count_that_there_may_be_no_worthwhile_difference():
    noisy = contrast(0.0, 1.0)
    actual = decided(noisy)
    assert actual.verdict == "cannot tell" and actual.seeds_needed is not None
    assert noisy.solve_seeds_to_support(0.8, 0.025) is None
    assert noisy.solve_seeds_to_oppose(0.8, 0.025) is None
    random, n = np.random.default_rng(6), actual.seeds_needed
    drawn = [
        decided(Contrast("x", pd.Series(random.normal(0, 1, n)), delta=DELTA)) for _ in range(400)
    ]
    share = sum(v.verdict == "no worthwhile difference" for v in drawn) / len(drawn)
    assert share == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize(("effect", "sd", "n"), [(0.0, 0.4, 8), (0.2, 0.4, 20)])
def test_the_power_of_being_within_is_what_is_drawn(effect, sd, n):
    random, times = np.random.default_rng(7), 3000
    hits = 0
    for _ in range(times):
        low, high = stats.ttest_1samp(random.normal(effect, sd, n), 0).confidence_interval(0.98)
        hits += low > -DELTA and high < DELTA
    power = compute_contrast_power("within", effect, DELTA, Spread(sd**2), n, 1, 0.01)
    assert power == pytest.approx(hits / times, abs=0.03)


# --- how it is shown


def test_the_words_and_the_strip_of_the_page():
    actual = decided(contrast(1.0, 0.2))
    text = page.describe_size(actual)
    low, high = actual.size_interval.low, actual.size_interval.high
    assert text.startswith(f"Size: {math.floor(100 * low) / 100:.2g} to ")
    assert "beyond the smallest effect, 0.5 points" in text
    assert "worth having below 0.85 points, less than worth having above 1.2 points" in text
    assert (low, high) == pytest.approx((0.857, 1.143), abs=1e-3)
    strip = str(page.draw_size_strip(actual.size_interval))
    end = 1.25 * high
    assert f'<rect width="{220 * low / end:.1f}"' in strip
    assert f"M{220 * high / end:.1f} 6.0H220" in strip and f"M{220 * 0.5 / end:.1f} -1V" in strip
    assert page.describe_size(decided(contrast(1.0, delta=None))) == ""
    within = page.describe_size(decided(contrast(0.0, 0.1)))
    assert "within the smallest effect" in within and "worth having below" not in within
    contrary = page.describe_size(decided(contrast(-1.0, 0.2), contrast(0.0, 0.2)))
    assert " points over 2 contrasts at 95 %, one of them beyond the smallest effect" in contrary


def test_every_verdict_has_a_mark_and_a_color():
    assert list(page.VERDICT_MARKS) == list(claim.VERDICTS)
    assert len({*page.VERDICT_MARKS.values(), *page.SIZE_MARKS.values()}) == 7
    template = page.resources.files("kdpipe.report").joinpath("templates/report.html.jinja")
    styles = template.read_text().split("</style>")[0]
    for word in (*claim.VERDICTS, *page.SIZE_MARKS):
        assert f".{word.replace(' ', '-')}" in styles


def test_the_smallest_effects_are_neutral_when_left_out():
    assert SmallestEffects().model_dump() == {
        **{"kd_error": 1.0, "nll": 0.01, "kl": 0.01, "entropy": 0.01, "rank": 0.3}
    }
