"""The second interval against the crossed estimate of outcomes put together by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from kdpipe.errors import StoreError
from kdpipe.stats.error_provenance import ErrorWithProvenance, estimate_image_level
from kdpipe.stats.variance_components import decompose_variance


class Known:
    """Outcomes by name."""

    def __init__(self, rows):
        self.rows = {name: np.asarray(row, bool) for name, row in rows.items() if row is not None}

    def wrong(self, name):
        return self.rows.get(name)


def error(name, row):
    return ErrorWithProvenance(100 * np.mean(row), {name: 1.0})


def build(seeds, images, seed=0):
    """Two methods whose errors depend on the seed and on how hard the image is."""
    random = np.random.default_rng(seed)
    hard = random.normal(0, 1, images)
    rows = {}
    for method, ease in (("a", 1.2), ("b", 1.6)):
        for s in range(seeds):
            luck = random.normal(0, 0.4)
            rows[f"{method}{s}"] = hard + random.normal(0, 0.7, images) > ease + luck
    values = [error(f"a{s}", rows[f"a{s}"]) - error(f"b{s}", rows[f"b{s}"]) for s in range(seeds)]
    return pd.Series(values, dtype=object), Known(rows)


def grid(known, seeds):
    rows = [100.0 * known.rows[f"a{s}"] - 100.0 * known.rows[f"b{s}"] for s in range(seeds)]
    return np.stack(rows)


def test_it_is_the_crossed_estimate_of_the_outcomes_by_hand():
    values, known = build(5, 60)
    actual = estimate_image_level(values, known.wrong).estimate
    assert actual is not None
    assert actual == decompose_variance(grid(known, 5), "seed", "image")
    assert actual.mean == pytest.approx(values.astype(float).mean())
    assert actual.levels == {"seed": 5, "image": 60}


def test_a_constant_moves_a_seed_and_no_image():
    values, known = build(5, 60)
    moved = [
        ErrorWithProvenance(one + c, one.parts, c) for one, c in zip(values, range(5), strict=True)
    ]
    actual = estimate_image_level(pd.Series(moved, dtype=object), known.wrong).estimate
    expected = decompose_variance(grid(known, 5) + np.arange(5)[:, None], "seed", "image")
    assert actual is not None and actual.variance == pytest.approx(expected.variance)
    twice = moved[1] * 2 - moved[3]
    assert isinstance(twice, ErrorWithProvenance) and twice.constant == 2 * 1 - 3


def test_its_facts_are_plain():
    values, known = build(5, 60)
    facts = estimate_image_level(values, known.wrong).to_json(0.9)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["low"] < float(values.mean()) < facts["high"] and facts["level"] == 0.9
    assert [*facts["components"]] == ["seed", "image", "seed x image"]


def test_what_has_no_second_interval_says_why():
    values, known = build(6, 100)
    one_less = {name: row for name, row in known.rows.items() if name != "b3"}
    cases = [
        (
            pd.Series([0.5, 0.7, 0.2, 0.1, 0.4]),
            known.wrong,
            "not a mean over test or validation images",
        ),
        (values * values, known.wrong, "not a mean over test or validation images"),
        (values[:2], known.wrong, "3 seeds are needed, 2 are there"),
        (pd.Series(dtype=float), known.wrong, "no seed has it"),
        (values, None, "holds no outputs"),
        (values, Known({}).wrong, "holds no outputs"),
        (values, Known(one_less).wrong, "no outputs of b3"),
    ]
    for one, errors, why in cases:
        actual = estimate_image_level(one, errors)
        assert (
            why in actual.why
            and actual.estimate is None
            and actual.to_json(0.95) == {"why": actual.why}
        )


def test_outcomes_of_other_runs_are_refused():
    values, known = build(6, 100)
    known.rows["a2"] = ~known.rows["a2"]
    with pytest.raises(StoreError, match="a2, b2 are not those of their records"):
        estimate_image_level(values, known.wrong)


def test_a_sum_of_errors_knows_its_runs():
    a, b = ErrorWithProvenance(3.0, {"a": 1.0}), ErrorWithProvenance(5.0, {"b": 1.0})
    assert (a - b).parts == {"a": 1.0, "b": -1.0} and a - b == -2.0
    assert (sum([a, b]) / 2).parts == {"a": 0.5, "b": 0.5} and sum([a, b]) / 2 == 4.0
    assert (-(a - b)).parts == {"a": -1.0, "b": 1.0}
    assert not hasattr(a + 1.0, "parts") and a + 1.0 == 4.0
    assert math.isnan(a - math.nan) and math.isnan(math.nan - a)
