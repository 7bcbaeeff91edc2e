"""The interval and the marks of differences in tables: the wider of two, and the other reading."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_frames import cell, frame
from scipy import stats

from kdpipe.analysis import eval_point, recommendation
from kdpipe.report.table import format_mark, render_table_by_name
from kdpipe.stats.group_sequential import InterimAnalysis

IMAGES = 200


def images(missed, count=IMAGES):
    """Wrong images by run: the runs of a cell get its own first ones wrong, and some of luck."""
    random, actual = np.random.default_rng(3), {}
    for run, (first, number) in missed.items():
        errors = np.zeros(count, bool)
        errors[first : first + number] = True
        errors[random.integers(0, count, 3)] ^= True
        actual[run] = errors
    return actual


def build(**labels):
    """A student that gets other images wrong than scratch does, and each seed the same ones."""
    rows = [
        cell([0.0] * 5, "scratch", val_error=2.0),
        cell([0.0] * 5, teacher="mid", val_error=1.0, **labels),
    ]
    names = [row["run"] for part in rows for row in part]
    errors = images({name: (0, 40) if i < 5 else (100, 30) for i, name in enumerate(names)})
    for part in rows:
        for row in part:
            row["test_error"] = 100 * errors[row["run"]].mean()
    return frame(*rows), errors


def two_way(values):
    """Half of the 95 % interval of a mean crossed seed x image, by the textbook's mean squares."""
    (s, m), mean = values.shape, values.mean()
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    of_seeds = m * ((rows - mean) ** 2).sum() / (s - 1)
    of_images = s * ((columns - mean) ** 2).sum() / (m - 1)
    rest = ((values - rows[:, None] - columns + mean) ** 2).sum() / ((s - 1) * (m - 1))
    seed, image = max(0, of_seeds - rest) / m, max(0, of_images - rest) / s
    variance = seed / s + image / m + rest / (s * m)
    spread = of_seeds**2 / (s - 1) + of_images**2 / (m - 1) + rest**2 / ((s - 1) * (m - 1))
    df = max(min(s, m) - 1, variance**2 / (spread / (s * m) ** 2))
    return stats.t.ppf(0.975, df) * math.sqrt(variance)


def test_the_wider_interval_gives_a_difference_its_width_and_its_mark():
    rows, errors = build()
    scratch, taught = ([errors[run] for run in rows.run[rows.kind == kind]]
                       for kind in ("scratch", "student"))  # fmt: skip
    apart = 100 * (np.array(taught, float) - np.array(scratch, float))
    alone = stats.ttest_1samp(apart.mean(axis=1), 0)
    assert alone.pvalue < 0.01 and alone.statistic < 0  # over seeds it is better
    actual = render_table_by_name("teacher_size", rows, error_masks={"last": errors.get})
    row = actual.data.iloc[1]
    half = two_way(apart)
    assert half > -row.vs_scratch > alone.confidence_interval().high - row.vs_scratch
    assert (row.vs_scratch_low, row.vs_scratch_high) == pytest.approx(
        (row.vs_scratch - half, row.vs_scratch + half)
    )
    assert row.vs_scratch_mark == "cannot tell" and row.vs_scratch_images_high > 0
    assert "cannot tell" in actual.display["against scratch"][1]
    assert actual.caption.count("wider of two") == 1 and "alone" not in actual.caption
    blind = render_table_by_name("teacher_size", rows)
    assert blind.data.vs_scratch_mark[1] == "better" and "over seeds alone" in blind.caption


def test_a_table_never_says_better_where_the_answer_cannot_tell_of_the_same_difference():
    rows, errors = build()
    (of_answer,) = recommendation.recommend_options(rows, errors.get)
    gain = of_answer.decision
    assert gain is not None
    for name in ("teacher_size", "losses", "mimicry", "checkpoints"):
        data = render_table_by_name(name, rows, error_masks={"last": errors.get}).data
        (mark,) = data.vs_scratch_mark[data.teacher == "mid"]
        assert mark == gain.mark == "cannot tell"


def test_a_caption_says_how_many_have_no_images():
    rows, errors = build()
    more = frame(cell([1.0, 1.5, 1.2, 1.1, 1.0], teacher="large", val_error=1.0))
    both = pd.concat([rows, more], ignore_index=True)
    actual = render_table_by_name("teacher_size", both, error_masks={"last": errors.get})
    assert "(for 1 only the first is known, which is about this test set)" in actual.caption
    lone = actual.data.set_index("teacher").loc["large"]
    assert math.isnan(lone.vs_scratch_images_low) and lone.vs_scratch_mark == "better"


LAST, BEST = [12.1, 12.3, 12.0, 11.9, 12.4], [7.0, 7.5, 7.1, 6.7, 7.0]
ALONE = [10.0, 10.4, 10.1, 9.8, 10.2]


def both_readings(stop="full", **labels):
    alone = cell(ALONE, "scratch", val_error=9.0, best_test_error=ALONE, best_val_error=9.0)
    labels = {"val_error": 1.0, "best_test_error": BEST, "best_val_error": 1.0, **labels}
    return alone, cell(LAST, teacher="mid", stop=stop, **labels)


@pytest.mark.parametrize(
    ("read_at", "marks", "there"), [("last", "worse", "best"), ("best", "better", "last")]
)
def test_where_the_other_reading_says_something_else_it_stands_in_brackets(read_at, marks, there):
    other = {"worse": "better", "better": "worse"}[marks]
    actual = render_table_by_name(
        "teacher_size", eval_point.select_eval_point(frame(*both_readings()), read_at)
    )
    row = actual.data.iloc[1]
    here = {"last": LAST, "best": BEST}[read_at]
    test = stats.ttest_rel(here, ALONE).confidence_interval()
    assert (row.vs_scratch_low, row.vs_scratch_high) == pytest.approx(tuple(test))
    assert row.vs_scratch_mark == marks and row[f"vs_scratch_mark_at_{there}"] == other
    assert actual.display["against scratch"][1].endswith(f"{marks} ({there} epoch: {other})")
    assert f"Where the mark at the {there} epoch differs, it is in brackets." in actual.caption
    checked = render_table_by_name(
        "checkpoints", eval_point.select_eval_point(frame(*both_readings()), read_at)
    )
    assert f"{marks} ({there} epoch: {other})" in checked.display["small, kd"][0]


def test_where_both_readings_agree_nothing_is_added():
    same = both_readings(best_test_error=LAST)
    actual = render_table_by_name(
        "teacher_size", eval_point.select_eval_point(frame(*same), "last")
    )
    assert actual.data["vs_scratch_mark_at_best"][1] == "worse" == actual.data.vs_scratch_mark[1]
    assert "epoch:" not in actual.display["against scratch"][1] and "brackets" not in actual.caption


def test_a_run_that_kept_no_best_epoch_has_one_reading():
    alone, taught = both_readings(best_test_error=[7.0, 7.5, math.nan, 6.7, 7.0])
    actual = render_table_by_name(
        "teacher_size", eval_point.select_eval_point(frame(alone, taught), "last")
    )
    assert "vs_scratch_mark_at_best" not in actual.data
    assert format_mark(actual.data.iloc[1].to_dict(), "vs_scratch") == "worse"


def test_the_other_reading_is_of_the_lengths_that_this_one_chose():
    """At the best epoch the others would choose the long schedule; what stands is the short one."""
    alone, _ = both_readings()
    full = cell(ALONE, teacher="mid", val_error=5.0, best_test_error=ALONE, best_val_error=5.0)
    short = cell(LAST, teacher="mid", stop="schedule 10/30", val_error=1.0, best_test_error=BEST,
                 best_val_error=9.0)  # fmt: skip
    long = cell(BEST, teacher="mid", stop="schedule 10/35", val_error=9.0, best_test_error=LAST,
                best_val_error=1.0)  # fmt: skip
    actual = render_table_by_name(
        "early_stopped", eval_point.select_eval_point(frame(alone, full, short, long), "last")
    ).data
    chosen = actual.set_index("stop").loc["schedule, chosen"]
    assert chosen.error == pytest.approx(np.mean(LAST))
    assert (chosen.vs_full_mark, chosen.vs_full_mark_at_best) == ("worse", "better")


def test_an_early_look_wants_more_of_the_other_reading_too():
    known = eval_point.select_eval_point(
        frame(*both_readings(best_test_error=[9.2, 9.5, 9.4, 9.5, 9.1])), "last"
    )
    once = render_table_by_name("teacher_size", known).data.iloc[1]
    early = render_table_by_name("teacher_size", known, InterimAnalysis((5, 50), 1)).data.iloc[1]
    assert once.vs_scratch_mark_at_best == "better"
    assert early.vs_scratch_mark_at_best == "cannot tell"
