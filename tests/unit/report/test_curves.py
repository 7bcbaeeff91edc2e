"""The curves of a page: each a click away, drawn where the numbers say."""

import re

import pandas as pd

from kdpipe.report import page

ROWS = pd.DataFrame(
    {
        "run": ["b", "b", "b", "a"],
        "epoch": [1, 2, 3, 1],
        "val_error": [50.0, 25.0, float("nan"), 10.0],
        "train_error": [40.0, 30.0, 20.0, 0.0],
    }
)


def test_lines_go_where_the_numbers_say():
    (first, svg), (second, _) = page.draw_curves(ROWS)
    assert (first, second) == ("b", "a")  # as the plan has them
    val, train = re.findall(r'points="(.*?)"', svg)
    half, width, height = page.CURVE_WIDTH / 2, page.CURVE_WIDTH, page.CURVE_HEIGHT
    assert val == f"0.0,0.0 {half:.1f},{height / 2:.1f}"  # the hole is none
    assert train.split()[0] == f"0.0,{0.2 * height:.1f}"
    assert train.split()[-1] == f"{width:.1f},{0.6 * height:.1f}"
    assert "error from 0 to 50.0 points over 3 epochs" in svg


def test_one_epoch_no_error_and_no_curve_are_no_trouble():
    flat = ROWS[ROWS.run == "a"].assign(val_error=0.0)
    assert "nan" not in page.draw_curves(flat)[0][1]
    assert page.draw_curves(pd.DataFrame(columns=pd.Index(["run", "epoch", "lr"]))) == []
    assert (
        page.draw_curves(pd.DataFrame(columns=pd.Index(["run", "epoch", "lr", "val_error"]))) == []
    )


def test_of_very_many_runs_not_all_are_on_the_page():
    many = pd.DataFrame({"run": range(page.MAX_CURVES + 9), "epoch": 1, "val_error": 1.0})
    assert len(page.draw_curves(many)) == page.MAX_CURVES
