"""A or B, against a paired t test of scipy and by hand."""

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_frames import cell, frame
from scipy import stats

from kdpipe.analysis import recommendation
from kdpipe.analysis.pairwise import MAX_PAIRS, compare_pairwise, find_incomparable_levels
from kdpipe.report.builtin_tables import a_or_b
from kdpipe.stats.ranks import rank_options

BIG = [10.0, 11.2, 9.1, 10.4, 10.9]
MID = [9.0, 9.9, 8.4, 9.2, 9.9]


def taught(errors, **labels):
    return cell(errors, **{"method": "kd", "teacher": "mid", **labels})


def of(actual, factor):
    return [pair for pair in actual if pair.factor == factor]


def test_two_teachers_are_compared_as_scipy_does_and_negative_is_for_a():
    (pair,) = compare_pairwise(frame(taught(MID), taught(BIG, teacher="big")))
    assert (pair.factor, pair.a, pair.b, pair.n_cells, pair.n_pairs) == (
        "teacher",
        "mid",
        "big",
        1,
        1,
    )
    test = stats.ttest_rel(MID, BIG).confidence_interval(0.95)
    d = pair.gain.difference
    assert d.mean == pytest.approx(np.mean(MID) - np.mean(BIG)) and d.n == 5
    assert (d.low, d.high) == pytest.approx((test.low, test.high))
    assert pair.gain.mark == "better"


def test_only_cells_that_agree_in_all_else_are_compared():
    """Of mid there is ESKD too, of big there is none: it does not count."""
    rows = [taught(MID), taught(BIG, teacher="big"), taught([2.0] * 5, method="eskd")]
    actual = compare_pairwise(frame(*rows))
    (teachers,) = of(actual, "teacher")
    assert teachers.n_cells == 1 and teachers.gain.difference.mean == pytest.approx(-1.04)
    (methods,) = of(actual, "method")
    assert {methods.a, methods.b} == {"kd", "eskd"} and methods.n_cells == 1
    both = frame(*rows, taught([3.0] * 5, method="eskd", teacher="big"))
    (teachers,) = of(compare_pairwise(both), "teacher")
    assert teachers.n_cells == 2
    assert teachers.gain.difference.mean == pytest.approx((-1.04 - 1.0) / 2)


def test_an_untrained_teacher_is_a_control_and_says_nothing_of_methods():
    kinds = {"kd": 30.0, "eskd": 10.0}
    rows = [taught(MID), taught(BIG, method="eskd")]
    rows += [taught([e] * 5, method=m, stop="checkpoint 0") for m, e in kinds.items()]
    actual = compare_pairwise(frame(*rows))
    (methods,) = of(actual, "method")
    assert methods.n_cells == 1 and abs(methods.gain.difference.mean) == pytest.approx(1.04)
    (stops,) = of(actual, "stop")
    assert stops.n_cells == 2 and {stops.a, stops.b} == {"full", "checkpoint 0"}


def test_all_pairs_of_a_question_hold_together():
    rows = [taught(MID), taught(BIG, teacher="big"), taught([8.0, 9, 8, 9, 9.5], teacher="small")]
    actual = of(compare_pairwise(frame(*rows)), "teacher")
    assert len(actual) == 3 and {pair.n_pairs for pair in actual} == {3}
    first = next(pair for pair in actual if {pair.a, pair.b} == {"mid", "big"})
    alone = stats.ttest_rel(MID, BIG).confidence_interval(1 - 0.05 / 3)
    width = first.gain.difference.high - first.gain.difference.low
    assert width == pytest.approx(alone.high - alone.low)


def test_of_many_each_stands_against_the_best_on_validation_and_all_pairs_count():
    random = np.random.default_rng(0)
    rows = [taught((9 + random.normal(0, 0.3, 5)).tolist(), method=f"m{i}") for i in range(8)]
    known = frame(*rows)
    known["val_error"] = known.test_error.where(known.method != "m5", 1.0)
    actual = of(compare_pairwise(known), "method")
    assert MAX_PAIRS < 8 * 7 / 2 and len(actual) == 7
    assert all(pair.b == "m5" and pair.n_pairs == 28 for pair in actual)


def test_the_one_that_all_others_stand_against_says_how_sure_it_is():
    random = np.random.default_rng(4)
    rows = [taught(random.normal(10, 1, 6), method=f"m{i}") for i in range(8)]
    rows += [taught(random.normal(20, 1, 6), method=f"m{i}", teacher="big") for i in range(8)]
    known = frame(*rows)
    known["val_error"] = known.test_error + random.normal(0, 1, len(known))
    actual = of(compare_pairwise(known), "method")
    # All methods are in both cells, so their ranks are those of the means over these.
    means = known.pivot_table("val_error", "seed", "method")
    assert {pair.b for pair in actual} == {means.mean().idxmin()}
    store = rank_options(means)[actual[0].b]
    assert (actual[0].rank.rank, actual[0].rank.total) == (store.rank, 8)
    assert actual[0].rank.p_best == pytest.approx(store.p_best, abs=0.03) and 0.2 < store.p_best < 1
    sure = actual[0].rank.p_best
    displayed = a_or_b.render_pairs_table(actual)
    assert set(displayed.display["B"]) == {f"{actual[0].b} (best with {sure:.0%})"}
    assert set(displayed.data["b_first"]) == {sure}
    few = a_or_b.render_pairs_table(of(compare_pairwise(known[known.method < "m3"]), "method"))
    assert "best with" not in "".join(few.display["B"]) and few.data["b_first"].isna().all()


def test_the_wider_interval_gives_the_mark():
    """Seeds that agree on few images: other images could say otherwise."""
    random = np.random.default_rng(1)
    known = frame(taught([10.0] * 5), taught([12.0] * 4 + [14.0], teacher="big"))
    incorrect = {}
    for teacher, errors in (("mid", 5), ("big", 6)):
        row = np.zeros(50, bool)
        row[random.permutation(50)[:errors]] = True
        incorrect |= dict.fromkeys(known.run[known.teacher == teacher], row)
    last = known.run.iloc[-1]
    incorrect[last] = incorrect[last] | (np.arange(50) == np.flatnonzero(~incorrect[last])[0])
    (pair,) = compare_pairwise(known, incorrect.get)
    assert pair.gain.difference.high < 0  # every seed says so, by one image or two
    assert pair.gain.image_estimate is not None and pair.gain.mark == "cannot tell"


def test_one_option_or_another_student_is_no_question():
    assert compare_pairwise(frame(taught(MID))) == []
    assert compare_pairwise(frame(taught(MID), taught(BIG, teacher="big", student="large"))) == []
    assert compare_pairwise(pd.DataFrame(frame(cell(MID, "scratch")))) == []


def test_an_untrained_teacher_is_no_option_of_the_answer():
    lucky = taught([1.0] * 5, stop="checkpoint 0")
    known = frame(cell(BIG, "scratch"), taught(MID), lucky)
    known["val_error"] = known.test_error
    (actual,) = recommendation.recommend_options(known)
    assert (actual.taught.n_options, actual.taught.entrant.key["stop"]) == (1, "full")


def test_a_seed_that_one_of_many_lacks_does_not_move_the_best_on_validation():
    rows = [taught([9.0 + i, 9.1 + i, 9.2 + i], method=f"m{i}") for i in range(8)]
    known = frame(*rows)
    known["val_error"] = known.test_error.where(known.method != "m5", 1.0)
    lost = (known.method == "m2") & (known.seed == 1)
    known.loc[lost, ["test_error", "val_error"]] = float("nan")
    known.loc[lost, "status"] = "diverged"
    actual = of(compare_pairwise(known), "method")
    assert {pair.b for pair in actual} == {"m5"}
    assert {pair.a: pair.gain.difference.n for pair in actual} == dict.fromkeys(
        ("m0", "m1", "m3", "m4", "m6", "m7"), 3
    ) | {"m2": 2}


def test_a_choice_is_not_compared_with_itself():
    """Chosen by all seeds is the one full teacher with full KD, which is a rival for others."""
    options = [taught(MID), taught(BIG, method="eskd", method_kind="eskd")]
    for errors, themselves in (([9.0] * 5, True), ([30.0] * 5, False)):
        known = frame(cell(BIG, "scratch"), *options)
        known["val_error"] = known.test_error.where(known.method != "kd", errors[0])
        (actual,) = recommendation.recommend_options(known)
        assert (actual.taught.entrant.key["method"] == "kd") == themselves
        rivals = [gain.baseline for gain in actual.taught.gains]
        assert any("full KD" in name for name in rivals) != themselves


def draw_grid(random, true, n_cells, parts):
    """A grid with holes and without noise: every level of a part is in a chain of shared cells."""
    rows = []
    for part in parts:
        order = random.permutation(part)
        for index in range(n_cells):
            # Neighbours in a random order share cells; further levels join them at random.
            members = {
                *order[index % (len(order) - 1) :][:2],
                *order[random.random(len(order)) < 0.2],
            }
            cell_effect = random.normal(0, 20)
            for level in members:
                errors = true[level] + cell_effect + np.arange(5.0)  # seeds differ, levels do not
                rows.append(taught(errors.tolist(), method=level, teacher=f"{part[0]}-{index}"))
    known = frame(*rows)
    known["val_error"] = known.test_error
    return known


@pytest.mark.parametrize("seed", range(2))
def test_in_a_grid_with_holes_the_reference_is_the_true_best_of_each_connected_part(seed):
    random = np.random.default_rng(seed)
    levels = [f"m{i}" for i in range(14)]
    parts = [levels[:8], levels[8:]]
    true = dict(zip(levels, random.permutation(len(levels)).astype(float), strict=True))
    known = draw_grid(random, true, 30, parts)
    actual = of(compare_pairwise(known), "method")
    assert actual[0].n_pairs > MAX_PAIRS
    best = {min(part, key=true.get) for part in parts}
    named = {pair.b for pair in actual if pair.rank is not None}
    assert named == best
    assert all(pair.rank.p_best == 1 for pair in actual if pair.rank is not None)
    assert {pair.a for pair in actual} >= set(levels) - best
    for pair in actual:
        assert pair.gain.difference.mean == pytest.approx(true[pair.a] - true[pair.b])
    incomparable = [entry for entry in find_incomparable_levels(known) if entry[1] == "method"]
    ((_, _, connected),) = incomparable
    assert {frozenset(part) for part in connected} == {frozenset(part) for part in parts}


def test_a_level_that_is_alone_in_its_cells_is_not_judged_by_them():
    """m0 has easy cells to itself and is worse than m1 where both are."""
    rows = [taught([10.0 + i] * 5, method=f"m{i}") for i in range(8)]
    rows[0] = taught([12.5] * 5, method="m0")
    rows += [taught([1.0] * 5, method="m0", teacher=f"easy-{i}") for i in range(9)]
    known = frame(*rows)
    known["val_error"] = known.test_error
    assert {pair.b for pair in of(compare_pairwise(known), "method")} == {"m1"}


def test_a_control_is_compared_and_is_no_candidate():
    stops = ["full", *(f"checkpoint {epoch}" for epoch in (5, 10, 15, 20, 25))]
    rows = [taught([10.0 + i] * 5, stop=stop) for i, stop in enumerate(stops)]
    rows += [taught([1.0] * 5, stop="checkpoint 0")]
    known = frame(*rows)
    known["val_error"] = known.test_error
    actual = of(compare_pairwise(known), "stop")
    assert {pair.b for pair in actual} == {"full"} and "checkpoint 0" in {p.a for p in actual}


def test_where_another_level_is_best_on_the_cells_that_all_share_it_is_named():
    rows = [taught([10.0 + i] * 5, method=f"m{i}") for i in range(8)]
    for index in range(9):  # where only these two are, m1 is far better
        rows += [taught([9.0] * 5, method="m0", teacher=f"t{index}")]
        rows += [taught([5.0] * 5, method="m1", teacher=f"t{index}")]
    known = frame(*rows)
    known["val_error"] = known.test_error
    actual = of(compare_pairwise(known), "method")
    assert {(pair.b, pair.best_on_shared) for pair in actual} == {("m1", "m0")}
    displayed = a_or_b.render_pairs_table(actual)
    assert all("on the cells that all share: m0)" in text for text in displayed.display["B"])
