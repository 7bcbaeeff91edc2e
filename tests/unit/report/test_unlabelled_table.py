"""With and without unlabelled images, on a made frame whose numbers are worked out by hand."""

import math

import pytest
from helpers.synthetic_frames import SCRATCH, cell, frame
from scipy import stats

from kdpipe.report.table import render_table_by_name

MORE = {"method_kind": "kd, unlabelled", "unlabelled_images": 500}
PLAIN = cell([9.0, 9.0, 10.0], teacher="mid", train_macs=100.0, teacher_macs=40.0)
LITTLE = cell([8.0, 9.0, 10.0], teacher="mid", method="little", unlabelled=16, **MORE)
MUCH = cell([6.0, 7.0, 9.0], teacher="mid", method="much", unlabelled=64, **MORE)
OTHER = {"temperature": 1, "teacher": "mid"}


def table(*cells):
    return render_table_by_name("unlabelled", frame(*cells).sample(frac=1, random_state=1))


def test_by_hand():
    """Each stands against the method that is alike in all else, paired by seed."""
    cold = cell([1.0, 1.0, 1.0], method="cold", **OTHER)  # without, and of nobody here
    built_table = table(SCRATCH, MUCH, PLAIN, LITTLE, cold)
    rows = built_table.data.to_dict("records")
    assert [(row["method"], row["unlabelled"]) for row in rows] == [
        *(("kd", 0), ("little", 16), ("much", 64)),
    ]
    plain, little, much = rows
    assert math.isnan(plain["vs_without"]) and math.isnan(plain["unlabelled_images"])
    assert plain["operations"] == 140 and much["unlabelled_images"] == 500
    assert [row["vs_scratch"] for row in rows] == pytest.approx([-5 / 3, -2, -11 / 3])
    assert little["vs_without"] == pytest.approx((-1 + 0 + 0) / 3)
    assert much["vs_without"] == pytest.approx((-3 - 2 - 1) / 3)
    # Five differences hold together: each has the interval of 1 - 0.05 / 5.
    oracle = stats.ttest_rel([6.0, 7.0, 9.0], [9.0, 9.0, 10.0]).confidence_interval(0.99)
    assert (much["vs_without_low"], much["vs_without_high"]) == pytest.approx(tuple(oracle))
    displayed = built_table.display.iloc[2]
    assert (
        displayed["unlabelled beside a batch"] == "64" and displayed["unlabelled in all"] == "500"
    )
    assert displayed["kind of method"] == "KD with unlabelled images"
    assert displayed["against without"].startswith("-2.0 ± ")


def test_what_has_no_partner_says_nothing_of_one():
    more = cell([5.0, 5.0, 5.0], method="more", unlabelled=8, **MORE, **OTHER)
    built_table = table(SCRATCH, more, PLAIN)
    (row,) = built_table.data.to_dict("records")
    assert row["method"] == "more" and "vs_without" not in row
    assert row["vs_scratch"] == pytest.approx(-6)
    assert built_table.display["against without"][0] == "-"


def test_a_study_without_any_has_no_row():
    assert table(SCRATCH, PLAIN).data.empty
