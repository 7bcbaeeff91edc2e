"""The second interval against exact variances, against scipy on one level, and by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdpipe.errors import StoreError
from kdpipe.statistics.resampling import TracedError, intervals


class Known:
    """Outcomes by name."""

    def __init__(self, rows):
        self.rows = {name: np.asarray(row, bool) for name, row in rows.items() if row is not None}

    def wrong(self, name):
        return self.rows.get(name)


def error(name, row):
    return TracedError(100 * np.mean(row), {name: 1.0})


def made(seeds, images, seed=0):
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


@pytest.mark.parametrize(("seeds", "images"), [(12, 400), (30, 150)])
def test_the_spread_is_that_of_two_crossed_multinomial_draws(seeds, images):
    # With counts u of seeds and v of images, E uu' = I + (1 - 1/S) 11', so the variance of
    # sum u v D / SN is exactly the one below; the draws are close to normal.
    values, known = made(seeds, images)
    d = grid(known, seeds)
    a, b = 1 - 1 / seeds, 1 - 1 / images
    square = (
        (d**2).sum()
        + b * (d.sum(axis=1) ** 2).sum()
        + a * (d.sum(axis=0) ** 2).sum()
        + a * b * d.sum() ** 2
    )
    sd = math.sqrt(square / d.size**2 - d.mean() ** 2)
    (found,) = intervals([(values, 0.95)], known.wrong, resamples=20_000)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * sd, rel=0.03)
    assert (found.high + found.low) / 2 == pytest.approx(d.mean(), abs=0.1 * sd)
    assert (found.seeds, found.images, found.resamples) == (seeds, images, 20_000)


def test_where_all_seeds_agree_it_is_the_bootstrap_over_images():
    random = np.random.default_rng(1)
    one, other = random.random(500) < 0.2, random.random(500) < 0.1
    difference = error("one", one) - error("other", other)
    known = Known({"one": one, "other": other})
    (found,) = intervals([(pd.Series([difference] * 6, dtype=object), 0.95)], known.wrong, 20_000)
    oracle = stats.bootstrap(
        (100.0 * one - 100.0 * other,), np.mean, method="percentile", n_resamples=20_000, rng=2
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(oracle), abs=0.12)


def test_where_all_images_agree_it_is_the_bootstrap_over_seeds():
    known = Known({"right": np.zeros(50), "wrong": np.ones(50)})
    errors = [10.3, 25.1, 19.7, 40.2, 15.6, 30.9, 5.4]
    values = [TracedError(100.0, {"wrong": 1.0}) * (value / 100) for value in errors]
    (found,) = intervals([(pd.Series(values, dtype=object), 0.9)], known.wrong, 20_000)
    oracle = stats.bootstrap(
        (errors,), np.mean, method="percentile", n_resamples=20_000, confidence_level=0.9, rng=2
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(oracle), abs=0.4)


def test_all_differences_share_their_resamples_and_a_level_is_a_level():
    values, known = made(8, 200)
    twice = intervals([(values, 0.95), (-values, 0.95), (values, 0.5)], known.wrong)
    first, mirrored, narrow = twice
    assert (mirrored.low, mirrored.high) == pytest.approx((-first.high, -first.low))
    assert first.low < narrow.low < narrow.high < first.high
    assert intervals([(values, 0.95)], known.wrong)[0].low == pytest.approx(first.low, abs=0.2)
    assert intervals([(values, 0.95), (-values, 0.95), (values, 0.5)], known.wrong) == twice


def test_what_has_no_second_interval_says_why():
    values, known = made(6, 100)
    few = pd.Series(list(values)[:4], dtype=object)
    one_less = {name: row for name, row in known.rows.items() if name != "b3"}
    cases = [
        (pd.Series([0.5, 0.7, 0.2, 0.1, 0.4]), known.wrong, "not a sum of test errors"),
        (values * values, known.wrong, "not a sum of test errors"),
        (few, known.wrong, "5 seeds are needed, 4 are there"),
        (pd.Series(dtype=float), known.wrong, "no seed has it"),
        (values, None, "holds no outputs"),
        (values, Known({}).wrong, "holds no outputs"),
        (values, Known(one_less).wrong, "no outputs of b3"),
    ]
    for one, wrong, why in cases:
        (found,) = intervals([(one, 0.95)], wrong)
        assert why in found.why and math.isnan(found.low)


def test_outcomes_of_other_runs_are_refused():
    values, known = made(6, 100)
    known.rows["a2"] = ~known.rows["a2"]
    with pytest.raises(StoreError, match="a2, b2 are not those of their records"):
        intervals([(values, 0.95)], known.wrong)


def test_a_sum_of_errors_knows_its_runs():
    a, b = TracedError(3.0, {"a": 1.0}), TracedError(5.0, {"b": 1.0})
    assert (a - b).parts == {"a": 1.0, "b": -1.0} and a - b == -2.0
    assert (sum([a, b]) / 2).parts == {"a": 0.5, "b": 0.5} and sum([a, b]) / 2 == 4.0
    assert (-(a - b)).parts == {"a": -1.0, "b": 1.0}
    assert not hasattr(a + 1.0, "parts") and a + 1.0 == 4.0
    assert math.isnan(a - math.nan) and math.isnan(math.nan - a)
