"""N1 to N4: what a student takes over from its teacher, on made data worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_frames import cell, frame
from scipy import stats

from kdpipe.analysis import copied_errors
from kdpipe.analysis.claim import (
    evaluate_claim,
    judge_both_eval_points,
    judge_findings,
    load_claims,
)
from kdpipe.analysis.teacher_quality import find_teachers_before_drop
from kdpipe.stats.error_provenance import ErrorWithProvenance
from kdpipe.stats.variance_components import decompose_variance

NO_CURVES = pd.DataFrame(columns=["run", "epoch", "lr", "val_error"])
ESKD = {"method": "early", "method_kind": "eskd", "kd_epochs": 12, "ce_weight_after_stop": 1.0}


def judged(claim, *cells, curves=NO_CURVES, masks=None):
    facts = load_claims()[claim]
    actual = evaluate_claim(facts, frame(*cells), curves, 0.5, masks)
    return judge_findings({claim: (facts.title, facts.primary, actual)})[0]


# --- N1 and N2: ranks of teachers and of students' errors

STOPS = [("mid", "full"), ("mid", "checkpoint 12"), ("large", "full"), ("large", "checkpoint 12")]
ERRORS = [10.0, 11.0, 12.0, 13.0]
# By seed, which of four teachers is the 1st, 2nd ... by its measure; Σd² of the ranks is 0, 2, 2...
IN_ORDER, TURNED = [0, 1, 2, 3], [3, 2, 1, 0]
NEAR = [[0, 1, 2, 3], [1, 0, 2, 3], [0, 1, 3, 2], [0, 1, 2, 3], [0, 2, 1, 3]]
MIXED = [[1, 3, 0, 2], [1, 2, 3, 0], [2, 0, 3, 1], [1, 3, 0, 2], [2, 0, 3, 1]]


def followed(orders, measure="val_nll", stops=STOPS, student="small"):
    """Students with errors 10, 11, 12 ... and the measures of their teachers, by seed an order."""
    rows = []
    for position, (teacher, stop) in enumerate(stops):
        values = [0.5 + 0.1 * order[position] for order in orders]
        runs = [f"teacher-{teacher}-s{seed}" for seed in range(len(orders))]
        labels = {"teacher": teacher, "stop": stop}
        rows.append(cell([10.0 + position] * len(orders), student=student, **labels))
        taught = cell([5.0] * len(orders), kind="teacher", run=runs, **labels, **{measure: values})
        rows.append([row | {"student": ""} for row in taught])
    return rows


@pytest.mark.parametrize(("claim", "measure"), [("N1", "val_nll"), ("N2", "val_ece")])
@pytest.mark.parametrize(
    ("orders", "word", "rhos"),
    [
        (NEAR, "supports", [1.0, 0.8, 0.8, 1.0, 0.8]),
        ([order[::-1] for order in NEAR], "contradicts", [-1.0, -0.8, -0.8, -1.0, -0.8]),
        (MIXED, "no worthwhile difference", [0.0, -0.2, 0.0, 0.0, 0.0]),
    ],
)
def test_the_rank_correlation_is_that_of_each_seed(claim, measure, orders, word, rhos):
    actual = judged(claim, *followed(orders, measure))
    assert actual.verdict == word, actual
    (contrast,) = actual.contrasts
    assert contrast["values"] == pytest.approx(rhos)  # 1 - Σd² / 10
    assert (actual.effect, actual.unit) == (pytest.approx(np.mean(rhos)), "rho")
    t = np.mean(rhos) / (np.std(rhos, ddof=1) / np.sqrt(5))
    assert actual.p == pytest.approx(stats.t.sf(t, 4))
    assert "small: 4 teachers and stops" in actual.reason


def test_its_second_interval_is_that_of_the_rise_of_errors_along_the_ranks():
    """In the first seed errors of 10, 11, 12 and 13 points rise by 1 point for each rank."""
    random, cells = np.random.default_rng(2), followed(NEAR)
    masks = {}
    for row in (row for rows in cells[::2] for row in rows):  # students
        wrong = np.zeros(100, bool)
        wrong[random.permutation(100)[: int(row["test_error"])]] = True
        masks[row["run"]] = wrong
    actual = judged("N1", *cells, masks=masks.get)
    grid = np.zeros((5, 100))
    for seed, order in enumerate(NEAR):
        for position, rows in enumerate(cells[::2]):
            grid[seed] += 100 * (order[position] - 1.5) / 5 * masks[rows[seed]["run"]]
    assert grid.mean(axis=1) == pytest.approx([1.0, 0.8, 0.8, 1.0, 0.8])
    expected = decompose_variance(grid, "seed", "image")
    # The interval of rho is as much wider with images as that of the trend of the errors.
    rho = np.array(actual.contrasts[0]["values"])
    ratio = expected.variance / (grid.mean(axis=1).var(ddof=1) / 5)
    half = stats.t.ppf(0.975, expected.df) * np.sqrt(ratio * rho.var(ddof=1) / 5)
    assert actual.images is not None and actual.images["low"] == pytest.approx(rho.mean() - half)
    assert actual.images["high"] == pytest.approx(rho.mean() + half)
    assert actual.p == pytest.approx(max(expected.compute_p_above(), actual.contrasts[0]["p"]))
    assert actual.p > judged("N1", *cells).p  # images are the wider one here


def test_cells_are_kd_to_the_end_of_trained_networks_other_than_the_student():
    own = followed([[0]] * 5, stops=[("small", "full")])
    control = followed([[9]] * 5, stops=[("large", "checkpoint 0")])
    others = [cell([20.0] * 5, teacher="mid", via="large"), cell([20.0] * 5, teacher="mid", **ESKD)]
    plain = judged("N1", *followed(NEAR))
    assert judged("N1", *followed(NEAR), *own, *control, *others).contrasts == plain.contrasts
    few = judged("N1", *followed([order[:3] for order in NEAR], stops=STOPS[:3]), *own, *control)
    assert few.verdict == "not tested"
    assert few.reason == "small has 3 cells (teachers and stops), 4 are needed"
    without = judged("N2", *followed(NEAR))  # no calibration error on record
    assert without.verdict == "not tested" and "small has 0 cells" in without.reason


def test_one_student_has_four_cells_and_another_three():
    more = followed([order[:3] for order in NEAR], stops=STOPS[:3], student="mid")
    more = more[4:5]  # of mid only that from large
    actual = judged("N1", *followed(NEAR), *more)
    assert actual.verdict == "supports" and "mid has 1 cells" in actual.reason


def test_two_students_are_averaged_and_stand_beside():
    stops = [("large", "full"), *(("large", f"checkpoint {epoch}") for epoch in (10, 20, 30))]
    actual = judged(
        "N1",
        *followed(NEAR, stops=stops),
        *[rows for rows in followed([IN_ORDER] * 5, stops=stops, student="mid")[::2]],
    )
    mean, small, mid = actual.contrasts
    # mid reads the teachers of NEAR too: the same networks.
    assert mean["needed"] and not small["needed"] and not mid["needed"]
    assert mean["values"] == pytest.approx(np.mean([small["values"], mid["values"]], axis=0))


def curve(run, rates):
    return [{"run": run, "epoch": e, "lr": lr, "val_error": 1.0} for e, lr in enumerate(rates, 1)]


def test_it_is_shown_without_teachers_that_were_stopped_before_their_first_drop():
    stops = [("large", f"checkpoint {epoch}") for epoch in (3, 4, 5, 8)] + [("large", "full")]
    orders = [[4, 0, 1, 2, 3], [4, 0, 1, 3, 2]] * 2 + [[4, 0, 1, 2, 3]]
    rates = [0.05, 0.1, 0.1] + [0.02] * 5  # a warm-up, and a drop after epoch 3
    curves = pd.DataFrame(row for s in range(5) for row in curve(f"teacher-large-s{s}", rates))
    cells = followed(orders, stops=stops)
    actual = judged("N1", *cells, curves=curves)
    every, late = actual.contrasts
    assert late["text"] == every["text"] + ", without teachers stopped before their first drop"
    assert every["needed"] and not late["needed"]
    # Of five: 1 - Σd² / 20 with d = (4, -1, -1, -1, -1); of the last four all but two in order.
    assert every["values"] == pytest.approx([0.0, -0.1, 0.0, -0.1, 0.0])
    assert late["values"] == pytest.approx([1.0, 0.8, 1.0, 0.8, 1.0])
    assert len(judged("N1", *cells).contrasts) == 1  # without curves nobody knows
    flat = curves.assign(lr=0.1)
    assert len(judged("N1", *cells, curves=flat).contrasts) == 1


def test_a_schedule_was_not_stopped_before_its_drops():
    rows = pd.DataFrame(
        {
            "stop_kind": ["full", "schedule", "checkpoint", "checkpoint", "checkpoint"],
            "stop_epochs": [8, 2, 2, 3, 4],
            "teacher_run": ["a", "b", "a", "a", "a"],
        }
    )
    curves = pd.DataFrame([*curve("a", [0.1] * 3 + [0.02] * 5), *curve("b", [0.1] * 3)])
    actual = find_teachers_before_drop(rows, curves)
    assert actual.tolist() == [False, False, True, True, False]


# --- N3 and N4: errors where the teacher is wrong, and where it is right

TILE, TILES = 20, 200  # a pattern of 20 images, 200 times, so that images tell what seeds do


def tiled(images):
    return {image + TILE * tile for image in images for tile in range(TILES)}


TEACHER = tiled(range(8))  # wrong on 8 of 20 images
SCRATCH = tiled({0, 1, 8, 9, 10})  # 2 of 8, 3 of 12
COPIES = tiled({0, 1, 2, 3, 8, 9})  # 4 of 8, 2 of 12: 25 points more wrong, 8.33 more right
LEARNS = tiled({0, 1, 8})  # as many of 8, 1 of 12: 16.67 more right
MORE = [set(), tiled({5}), set(), set(), set()]  # seed 1 has one of the 8 images more
ALONE = cell([SCRATCH] * 5, kind="scratch")


def copied(claim, *cells, **others):
    """The verdict on students whose errors are given as sets of images."""
    masks, known = {}, []
    for row in (row for rows in cells for row in rows):
        mask = np.isin(np.arange(TILE * TILES), sorted(row["test_error"]))
        masks[row["run"]] = mask
        known.append(row | {"test_error": 100 * mask.mean()})
        if row.get("teacher_run"):
            masks[row["teacher_run"]] = np.isin(np.arange(TILE * TILES), sorted(TEACHER))
    return judged(claim, known, masks=masks.get, **others)


def taught(errors, teacher="mid", more=MORE, val_error=9.0, **labels):
    by_seed = [errors | further for further in more]
    return cell(by_seed, teacher=teacher, val_error=[val_error] * len(by_seed), **labels)


@pytest.mark.parametrize(
    ("student", "word", "wrong", "right"),
    [
        (COPIES, "supports", 25.0, 100 / 12),
        (LEARNS, "contradicts", 0.0, 200 / 12),
    ],
)
def test_more_errors_are_copied_than_learned(student, word, wrong, right):
    actual = copied("N3", ALONE, taught(student))
    assert actual.verdict == word, actual
    difference, more_wrong, more_right = actual.contrasts
    more = [0.0, 12.5, 0.0, 0.0, 0.0]  # one of 8 images
    assert more_wrong["values"] == pytest.approx([wrong + extra for extra in more])
    assert more_right["values"] == pytest.approx([right] * 5)
    assert difference["values"] == pytest.approx([wrong - right + extra for extra in more])
    assert difference["needed"] and not more_wrong["needed"] and not more_right["needed"]
    assert (actual.unit, actual.n) == ("points of a group", 5) and "why" not in actual.images


def test_neither_is_more_by_what_is_worth_having():
    few = [{5}, {14}, set(), {5, 6}, {15}]  # of 1,600 and 2,400 images
    actual = copied("N3", ALONE, taught(SCRATCH, more=few))
    assert actual.verdict == "no worthwhile difference", actual
    expected = [100 / 1600, 100 / 2400, 0.0, 200 / 1600, 100 / 2400]
    assert actual.contrasts[0]["values"] == pytest.approx(expected)


def test_stopped_kd_copies_fewer_errors_and_where_it_stops_is_chosen_on_validation():
    late = ESKD | {"method": "late", "kd_epochs": 32}
    full, early = taught(COPIES), taught(SCRATCH, more=[set()] * 5, **ESKD)
    other = taught(TEACHER, val_error=12.0, **late)  # worse on validation: never chosen
    actual = copied("N4", ALONE, full, early, other)
    assert actual.verdict == "supports" and actual.reason.endswith("1 cells")
    expected = [25 - 100 / 12 + extra for extra in (0.0, 12.5, 0.0, 0.0, 0.0)]
    assert actual.contrasts[0]["values"] == pytest.approx(expected)
    # Two halves chose for each other: n - 2 degrees of freedom.
    odd, even = np.array(expected[0::2]), np.array(expected[1::2])
    se = np.sqrt((3 * odd.var() + 2 * even.var()) / 3 / 5)
    assert actual.p >= stats.t.sf(np.mean(expected) / se, 3) * 0.999
    swapped = copied("N4", ALONE, taught(SCRATCH), taught(COPIES, more=[set()] * 5, **ESKD))
    assert swapped.verdict == "contradicts"
    hot = taught(SCRATCH, **ESKD | {"temperature": 20})
    assert "same temperature" in copied("N4", ALONE, full, hot).reason


def test_the_mean_is_over_teachers_that_are_whole_runs():
    cut = taught(TEACHER, stop="checkpoint 12")
    schedule = taught(LEARNS, teacher="large", stop="schedule 10/35")
    actual = copied("N3", ALONE, taught(COPIES), cut, schedule)
    mean, _, _, mid, large = actual.contrasts
    assert mid["text"].endswith("small from mid (full)")
    assert large["text"].endswith("small from large (schedule 10/35)")
    assert mean["values"] == pytest.approx(np.mean([mid["values"], large["values"]], axis=0))
    assert "whole run" in copied("N3", ALONE, cut).reason


def test_seeds_without_an_arm_are_left_out():
    some = [*taught(COPIES)[:3], *[row | {"seed": row["seed"] + 5} for row in taught(COPIES)[3:]]]
    assert copied("N3", ALONE, some).n == 3
    nobody = [row | {"seed": row["seed"] + 5} for row in taught(LEARNS, teacher="large")]
    actual = copied("N3", ALONE, some, nobody)
    assert actual.verdict == "not tested"
    assert actual.reason.startswith("3 seeds with every cell are needed, 0 are there")


def test_without_outcomes_of_single_images_nothing_is_tested():
    known = [row | {"test_error": 10.0} for row in (*ALONE, *taught(COPIES))]
    for masks in (None, lambda run: None):
        actual = judged("N3", known, masks=masks)
        assert actual.verdict == "not tested" and "single test images" in actual.reason


def test_a_teacher_is_read_as_it_taught_whatever_the_study_reads():
    runs = [*ALONE, *taught(COPIES)]
    asked = {"last": set(), "best": set()}

    def look_up(point):
        def find(run):
            asked[point].add(run)
            return np.isin(np.arange(TILE * TILES), sorted(TEACHER if "teacher" in run else COPIES))

        return find

    error = 100 * len(COPIES) / TILE / TILES
    rows = pd.DataFrame(row | {"test_error": error, "best_test_error": error} for row in runs)
    judge_both_eval_points(
        rows, NO_CURVES, 0.5, "best", error_masks={point: look_up(point) for point in asked}
    )
    assert any(run.startswith("teacher-") for run in asked["last"])
    assert asked["best"] and not any(run.startswith("teacher-") for run in asked["best"])


def test_the_linearised_values_vary_as_a_ratio_does():
    """By the jackknife over images, which are 3,000."""
    random = np.random.default_rng(0)
    values, group = random.normal(3, 2, 3000), random.random(3000) < 0.2
    values[group] += 5
    actual = copied_errors.linearize_group_mean(values, group)
    assert actual.mean() == pytest.approx(values[group].mean())
    total, count = (values * group).sum(), group.sum()
    without = (total - values * group) / (count - group)
    jackknife = 2999 / 3000 * ((without - without.mean()) ** 2).sum()
    assert actual.var(ddof=1) / 3000 == pytest.approx(jackknife, rel=0.02)


def test_an_arm_may_be_a_sum_of_runs():
    masks = {"a": np.array([True, False]), "b": np.array([True, True])}
    error = ErrorWithProvenance(75.0, {"a": 0.5, "b": 0.5})
    assert copied_errors._load_outcomes(masks.get, error).tolist() == [1.0, 0.5]
    assert copied_errors._load_outcomes(masks.get, 75.0) is None
