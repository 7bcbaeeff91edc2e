"""M1 and M2, the claims of the field's methods: who is compared, and how often they are wrong."""

import itertools

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_frames import cell, frame
from scipy import stats

from kdpipe.analysis import published
from kdpipe.analysis.claim import evaluate_claim, judge_findings, load_claims
from kdpipe.stats.ranks import compute_permutation_p

NO_CURVES = pd.DataFrame(columns=["run", "epoch", "lr", "val_error"])
NOISE = [0.00, 0.11, -0.07, 0.05, -0.09]


def judged(claim, *cells, delta=0.5):
    facts = load_claims()[claim]
    actual = evaluate_claim(facts, frame(*cells), NO_CURVES, delta)
    return judge_findings({claim: (facts.title, facts.primary, actual)})[0]


def arm(errors, kind="kd", label=None, validation=None, **labels):
    """One setting of a method from one teacher; validation errors are the test errors."""
    if not isinstance(errors, list):
        turn = len(label or kind)
        errors = [errors + NOISE[(seed + turn) % 5] for seed in range(5)]
    known = [error if isinstance(error, float) else None for error in errors]
    facts = {"teacher": "mid", "method": label or kind, "method_kind": kind, **labels}
    return cell(errors, val_error=validation or known, **facts)


def test_kd_too_comes_with_its_best_weights_and_none_is_chosen_by_the_seed_it_is_tested_on():
    # On seed 4 kd-hot is best by far, so its half (0, 2, 4) prefers it; 1 and 3 prefer kd.
    kd, hot = [10.0, 10.2, 10.4, 10.1, 10.3], [10.5, 10.7, 10.9, 10.6, 9.0]
    # Both halves prefer dkd-half; sp is worse.
    half, twice = [9.9, 9.7, 10.0, 9.8, 9.9], [10.1, 10.0, 10.4, 10.2, 10.0]
    actual = judged(
        "M1",
        *(arm(kd, "kd"), arm(hot, "kd", "kd-hot", temperature=20)),
        *(arm(half, "dkd", "dkd-half"), arm(twice, "dkd", "dkd-twice")),
        arm([11.0, 11.1, 11.2, 11.0, 11.1], "sp"),
    )
    chosen_kd = [hot[seed] if seed in (1, 3) else kd[seed] for seed in range(5)]
    effect = np.array([a - b for a, b in zip(half, chosen_kd, strict=True)])
    assert actual.effect == pytest.approx(np.mean(effect))
    squares = sum(len(part) * np.var(part) for part in (effect[0::2], effect[1::2]))
    t = (effect.mean() + 0.5) / np.sqrt(squares / 3 / 5)
    assert actual.p == pytest.approx(stats.t.sf(t, 3))
    assert actual.reason == "dkd-half against kd for 3 seeds, kd-hot for 2 seeds for small from mid"
    assert [c["asks"] for c in actual.contrasts] == ["not better"]


HOT = arm(12.0, "kd", "kd-hot", temperature=20)  # another setting of KD


def test_kd_of_a_single_setting_has_no_best_weights_of_its_own():
    cells = [arm(10.0), arm(10.1, "dkd"), arm(10.2, "sp")]
    actual = judged("M1", *cells)
    assert actual.verdict == "not tested"
    assert actual.reason.startswith("plain KD of small from mid has a single setting (kd), so")
    assert judged("M1", *cells, HOT).verdict == "supports"


def test_two_methods_beside_kd_are_needed_and_a_setting_is_not_a_method():
    one = [arm(10.0), arm(9.0, "dkd", "a"), arm(9.1, "dkd", "b"), HOT]
    actual = judged("M1", *one)
    needs = "it needs two methods beside KD from one fully trained teacher; here:"
    assert actual.verdict == "not tested"
    assert actual.reason == f"small from mid has one method beside KD; {needs} 1"
    assert judged("M1", arm(10.0)).reason == f"{needs} 0"
    early = arm(8.0, "eskd", kd_epochs=12), arm(8.0, "sp, stopped", kd_epochs=12)
    assert judged("M1", *one, *early).verdict == "not tested"
    assert judged("M1", *one, arm(9.0, "sp", stop="schedule 4/14")).verdict == "not tested"
    assert judged("M1", *one[1:3], arm(9.0, "sp")).reason == "small from mid has no full KD"
    lskd = judged("M1", *one, arm(8.0, "kd, standardised"))  # which is not plain KD
    assert lskd.verdict == "contradicts"
    assert lskd.reason.startswith("kd, standardised against kd")


def test_one_pair_with_a_better_method_is_enough_against_it():
    pairs = [
        arm(mean, kind, teacher=teacher)
        for teacher, means in {"mid": (10.0, 10.1, 10.2), "large": (10.0, 8.0, 10.0)}.items()
        for kind, mean in zip(("kd", "dkd", "sp"), means, strict=True)
    ]
    pairs += [
        arm(12.0, "kd", "kd-hot", temperature=20, teacher=teacher) for teacher in ("mid", "large")
    ]
    actual = judged("M1", *pairs)
    assert actual.verdict == "contradicts"
    assert actual.contrary.endswith("small from large")
    assert [c["needed"] for c in actual.contrasts] == [True, True, False]


def test_a_setting_that_diverged_is_set_aside_but_no_method_is():
    lost = ["diverged"] * 5
    cells = [arm(10.0), arm(10.1, "dkd"), arm(10.2, "sp"), arm(lost, "dkd", "dkd-much"), HOT]
    actual = judged("M1", *cells)
    assert actual.verdict == "supports"
    assert any("dkd-much" in text and "5 diverged" in text for text in actual.missing)
    actual = judged("M1", *cells, arm(lost, "rkd"))
    assert actual.verdict == "not tested"
    assert (
        actual.reason
        == "the best method of small from mid is not known: relational KD has no results"
    )


def test_without_validation_nothing_is_chosen():
    arms = ((10.0, "kd"), (9.0, "a"), (9.5, "b"))
    cells = [arm(e, k, validation=[None] * 5) for e, k in arms]
    cells.append(arm(9.0, "kd", "kd-hot", validation=[None] * 5, temperature=20))
    actual = judged("M1", *cells)
    assert actual.verdict == "not tested" and "validation" in actual.reason


FIELD = {"kd": 10.3, "dkd": 10.0, "ttm": 10.03, "at": 11.2, "sp": 11.24, "rkd": 11.4}


def field(means=None, **labels):
    return [arm(mean, kind, **labels) for kind, mean in (means or FIELD).items()]


def test_rho_is_scipys_of_the_mean_errors_and_the_published_means():
    rows = field()
    actual = judged("M2", *rows, arm(1.0, "mine"), arm(1.0, "dkd, stopped", kd_epochs=9))
    tables = published.get_published_errors_by_pair("cifar100").values()
    printed = {kind: np.mean([table[kind] for table in tables]) for kind in FIELD}
    own_value = {one[0]["method"]: np.mean([row["test_error"] for row in one]) for one in rows}
    oracle = stats.spearmanr([own_value[kind] for kind in FIELD], [printed[kind] for kind in FIELD])
    assert actual.effect == pytest.approx(oracle.statistic)
    assert actual.low <= actual.effect <= actual.high <= 1
    (contrast,) = actual.contrasts
    for seed, rho in zip(contrast["seeds"], contrast["values"], strict=True):
        by_seed = [one[int(seed)]["test_error"] for one in rows]
        assert rho == pytest.approx(stats.spearmanr(by_seed, list(printed.values())).statistic)
    oracle = stats.ttest_1samp(contrast["values"], 0, alternative="greater")
    assert (actual.p, actual.verdict, actual.unit) == (
        pytest.approx(oracle.pvalue),
        "supports",
        "rho",
    )


def pair(student, teacher, means, **labels):
    rows = field(means, teacher=teacher, teacher_network=teacher, data="cifar100", **labels)
    return [row | {"student": student} for one in rows for row in one]


def test_a_study_of_published_pairs_is_judged_by_these_pairs_alone():
    wrn = published.get_published_errors_by_pair("cifar100")["wrn16-2", "wrn40-2"]
    order = wrn[["kd", "dkd", "ttm", "at", "fitnet"]]
    here = pair("wrn16-2", "wrn40-2", {kind: error / 2 for kind, error in order.items()})
    other = pair("mid", "large", {kind: -error for kind, error in order.items()})
    actual = judged("M2", here, other)
    assert (
        actual.contrasts[0]["effect"] == 1
        and "errors on wrn40-2 > wrn16-2 against" in actual.reason
    )
    less = judged("M2", [row | {"data": "cifar10"} for row in here + other])
    assert (
        less.contrasts[0]["effect"] < 1
    )  # no pair of CIFAR-10 is published: all pairs, and all four


def test_five_published_methods_are_needed():
    four = {kind: FIELD[kind] for kind in ("kd", "dkd", "ttm", "at")}
    actual = judged("M2", *field({**four, "mine": 3.0, "nkd": 4.0}))
    assert actual.verdict == "not tested" and actual.reason.endswith("are needed, 4 are here")
    assert "are needed" not in judged("M2", *field({**four, "kd, standardised": 9.0})).reason


def test_the_permutation_p_is_scipys_over_all_orders():
    rows = field()
    actual = judged("M2", *rows)
    tables = published.get_published_errors_by_pair("cifar100").values()
    printed = [np.mean([table[kind] for table in tables]) for kind in FIELD]
    here = [np.mean([row["test_error"] for row in one]) for one in rows]
    observed = stats.spearmanr(here, printed).statistic
    orders = list(itertools.permutations(here))
    as_large = [stats.spearmanr(x, printed).statistic > observed - 1e-9 for x in orders]
    share = sum(as_large) / len(orders)
    assert f"over all orders of the methods p {share:.2g} (one-sided)" in actual.reason
    errors = pd.DataFrame([range(10)] * 3, columns=list("abcdefghij"))
    exact = compute_permutation_p(errors.iloc[:, :4], pd.Series([1, 2, 3, 4], list("abcd")))
    assert exact == 1 / 24
    sampled = compute_permutation_p(
        errors, pd.Series([3, 1, 2, 4, 5, 7, 6, 9, 8, 10], errors.columns)
    )
    assert 0 < sampled < 0.001


@pytest.mark.parametrize("claim", ["M1", "M2"])
def test_of_methods_that_are_all_alike_few_verdicts_are_wrong(claim):
    """Nothing is better and no order is right: at most one verdict in twenty may fall."""
    random = np.random.default_rng(1)
    kinds = [kind for kind in FIELD for _ in range(2 if claim == "M1" else 1)]
    errors = 0
    for _ in range(20):
        cells = [
            arm(list(test), kind, f"{kind}{i}", list(validation), epochs=40)
            for i, (kind, (test, validation)) in enumerate(
                zip(kinds, 10 + random.normal(size=(len(kinds), 2, 5)), strict=True)
            )
        ]
        word = judged(claim, *cells, delta=0.0).verdict
        errors += word == ("contradicts" if claim == "M1" else "supports")
    assert errors <= 3  # of 20 at 5 % more come once in 60 times
