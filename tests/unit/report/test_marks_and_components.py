"""What a page says of its marks, and of the components of a difference of several splits."""

import math
from types import SimpleNamespace

import pandas as pd

from kdpipe.report.page import describe_components, describe_marks


def test_marks_are_counted_over_all_tables():
    first = pd.DataFrame(
        {"vs_scratch_mark": ["better", "cannot tell", None], "vs_kd_mark": ["worse", "n", ""]}
    )
    pairs = pd.DataFrame({"difference_mark": ["cannot tell"], "mark_at_best": ["better"]})
    report = SimpleNamespace(
        tables=[SimpleNamespace(data=first), SimpleNamespace(data=pd.DataFrame({"a": [1]}))],
        pairs_table=SimpleNamespace(data=pairs),
        class_table=None,
    )
    text = describe_marks(report)
    assert "2 tables mark 4 differences" in text and "Each family" in text
    report.pairs_table, report.tables = None, []
    assert describe_marks(report) == ""


def test_components_are_shares_of_the_standard_error():
    images = {
        "levels": {"seed": 3, "split": 2, "image": 100},
        "components": {"seed": 0.75, "split": 0.5, "seed x split": 0.0, "image": 9.0},
    }
    expected = [math.sqrt(0.75 / 3), math.sqrt(0.5 / 2), 0.0, math.sqrt(9.0 / 100)]
    text = describe_components(images)
    names = ("seed", "split", "seed x split", "image")
    parts = [f"{name} {value:.2f}" for name, value in zip(names, expected, strict=True)]
    assert text == (
        f"standard error of the mean by {', '.join(parts)} (3 seeds, 2 splits, 100 images)"
    )
    assert describe_components({"levels": {"seed": 3, "image": 9}, "components": {}}) == ""
    assert describe_components({"why": "nothing is known"}) == describe_components(None) == ""
