"""From weights and at random, on a made frame whose numbers are worked out by hand."""

import pytest
from helpers.synthetic_frames import SCRATCH, cell, frame
from scipy import stats

from kdpipe.report.table import render_table_by_name

TAUGHT = cell([8.0, 9.0, 10.0], teacher="mid")
WARM = {"student": "warm", "network": "small"}
WARM_SCRATCH = cell([5.0, 7.0, 6.0], kind="scratch", teacher="", method="", stop="", **WARM)
WARM_TAUGHT = cell([4.0, 5.0, 7.0], teacher="mid", **WARM)


def table(*cells):
    return render_table_by_name("starts", frame(*cells).sample(frac=1, random_state=1))


def test_by_hand():
    built_table = table(SCRATCH, TAUGHT, WARM_SCRATCH, WARM_TAUGHT)
    rows = built_table.data.to_dict("records")
    assert [(row["student"], row["begins"], row["method"]) for row in rows] == [
        ("small", "at random", "scratch"),
        ("small", "at random", "kd"),
        ("warm", "from weights", "scratch"),
        ("warm", "from weights", "kd"),
    ]
    assert [row["error"] for row in rows] == pytest.approx([11, 9, 6, 16 / 3])
    assert rows[2]["vs_random"] == pytest.approx(-5)
    assert rows[3]["vs_random"] == pytest.approx((-4 - 4 - 3) / 3)
    assert rows[3]["vs_scratch"] == pytest.approx((-1 - 2 + 1) / 3)
    # Four differences hold together: each has the interval of 1 - 0.05 / 4.
    oracle = stats.ttest_rel([4.0, 5.0, 7.0], [8.0, 9.0, 10.0]).confidence_interval(1 - 0.05 / 4)
    assert (rows[3]["vs_random_low"], rows[3]["vs_random_high"]) == pytest.approx(tuple(oracle))


def test_what_has_no_partner_at_random_says_nothing_of_one():
    rows = table(WARM_SCRATCH, WARM_TAUGHT).data.to_dict("records")
    assert [row["student"] for row in rows] == ["warm", "warm"]
    assert not any(row.get("vs_random", float("nan")) < 1e9 for row in rows)


def test_a_study_that_begins_at_random_has_no_row():
    assert table(SCRATCH, TAUGHT).data.empty
