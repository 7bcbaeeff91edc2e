"""Variance components against a textbook's table, statsmodels, a slow twin, and the truth."""

import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from kdpipe.stats.intervals import summarize, t_test_greater
from kdpipe.stats.variance_components import decompose_variance


def drawn(shape, sds, seed=0):
    """Values of a crossed model; sds: of each set of axes, as a text of their numbers."""
    random = np.random.default_rng(seed)
    values = np.full(shape, 3.0)
    for axes, sd in sds.items():
        part = [size if str(axis) in axes else 1 for axis, size in enumerate(shape)]
        values = values + random.normal(0, sd, part)
    return values


def squares_by_hand(values):
    """The mean squares of two factors, cell by cell."""
    a, b = values.shape
    mean = sum(values[i, j] for i in range(a) for j in range(b)) / (a * b)
    rows = [sum(values[i]) / b for i in range(a)]
    columns = [sum(values[:, j]) / a for j in range(b)]
    of_rows = b * sum((row - mean) ** 2 for row in rows) / (a - 1)
    of_columns = a * sum((column - mean) ** 2 for column in columns) / (b - 1)
    rest = sum(
        (values[i, j] - rows[i] - columns[j] + mean) ** 2 for i in range(a) for j in range(b)
    )
    return of_rows, of_columns, rest / ((a - 1) * (b - 1))


def test_two_factors_are_the_analysis_of_variance_by_hand():
    values = drawn((5, 40), {"0": 1.0, "1": 2.0, "01": 1.0})
    actual = decompose_variance(values, "seed", "image")
    rows, columns, rest = squares_by_hand(values)
    expected = {("seed",): (rows - rest) / 40, ("image",): (columns - rest) / 5}
    assert actual.components == pytest.approx(expected | {("seed", "image"): rest})
    variance = (rows + columns - rest) / 200
    spread = (rows**2 / 4 + columns**2 / 39 + rest**2 / 156) / 200**2
    assert (actual.mean, actual.variance) == pytest.approx((values.mean(), variance))
    assert actual.df == pytest.approx(variance**2 / spread)
    assert actual.compute_variance_without("seed") == pytest.approx((columns - rest) / 5 / 40)
    half = stats.t.ppf(0.975, actual.df) * math.sqrt(variance)
    assert actual.compute_interval() == pytest.approx((values.mean() - half, values.mean() + half))
    t = (values.mean() - 1) / math.sqrt(variance)
    assert actual.compute_p_above(1.0) == pytest.approx(stats.t.sf(t, actual.df))
    assert actual.compute_p_below(1.0) == pytest.approx(stats.t.cdf(t, actual.df))


def test_balanced_components_are_those_of_restricted_likelihood():
    # Where no component is at its border, REML of a balanced design is the analysis of variance.
    values = drawn((6, 9), {"0": 1.5, "1": 1.0, "01": 0.7}, seed=3)
    actual = decompose_variance(values, "a", "b").components
    table = pd.DataFrame([(i, j, y, 1) for (i, j), y in np.ndenumerate(values)], columns=[*"abyg"])
    parts = {"a": "0 + C(a)", "b": "0 + C(b)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = smf.mixedlm("y ~ 1", table, groups="g", vc_formula=parts)
        fit = model.fit(reml=True, method=["bfgs", "powell"])
    reference = dict(zip(model.exog_vc.names, fit.vcomp, strict=True))
    assert actual["a",] == pytest.approx(reference["a"], rel=0.01)
    assert actual["b",] == pytest.approx(reference["b"], rel=0.01)
    assert actual["a", "b"] == pytest.approx(fit.scale, rel=0.01)


SEEDS = {(3, 4): 0, (3, 2, 4): 1, (4, 3, 5): 0}  # of draws that leave no component below 0


def twin(values):
    """The variance of the mean, unbiased, from products of cells that share a set of levels.

    The mean product of centred pairs that agree in exactly the levels F estimates the sum of the
    components of the subsets of F; a slow way that knows no mean squares.
    """
    cells = list(np.ndindex(*values.shape))
    axes = range(values.ndim)
    mean_product = {}
    for alike in itertools.product((False, True), repeat=values.ndim):
        products = [
            values[one] * values[other]
            for one in cells
            for other in cells
            if all((one[k] == other[k]) == alike[k] for k in axes)
        ]
        mean_product[alike] = np.mean(products)
    nothing = (False,) * values.ndim  # estimates the mean squared
    shares = {
        alike: np.prod(
            [1 / n if same else 1 - 1 / n for same, n in zip(alike, values.shape, strict=True)]
        )
        for alike in mean_product
    }
    return sum(shares[a] * (mean_product[a] - mean_product[nothing]) for a in mean_product)


@pytest.mark.parametrize("shape", SEEDS)
def test_any_number_of_factors_agrees_with_products_of_pairs(shape):
    sets = itertools.chain(*(itertools.combinations("012"[: len(shape)], n) for n in (1, 2, 3)))
    values = drawn(shape, {"".join(some): 0.5 ** len(some) for some in sets}, seed=SEEDS[shape])
    actual = decompose_variance(values, *"abc"[: len(shape)])
    assert min(actual.components.values()) > 0
    assert actual.variance == pytest.approx(twin(values))


def test_of_one_factor_it_is_the_t_interval():
    values = np.array([0.3, 1.2, -0.4, 2.2, 0.9])
    actual, s = decompose_variance(values, "seed"), summarize(values)
    assert actual.compute_interval() == pytest.approx((s.low, s.high))
    assert (
        actual.compute_p_above(0.2) == pytest.approx(t_test_greater(values, 0.2)) and actual.df == 4
    )


def test_it_never_says_less_than_the_images_allow():
    # Seeds that agree by luck: their spread is below what the images alone would give.
    values = drawn((5, 200), {"01": 3.0}, seed=1)
    values -= values.mean(axis=1, keepdims=True)
    actual = decompose_variance(values, "seed", "image")
    assert actual.components["seed",] == 0.0
    assert actual.variance >= actual.components["seed", "image"] / values.size


def test_values_without_any_spread_have_an_interval_of_no_width():
    actual = decompose_variance(np.ones((3, 7)), "seed", "image")
    assert actual.variance == 0.0 and actual.compute_interval() == (1.0, 1.0)
    assert (
        actual.compute_p_above(0.5),
        actual.compute_p_above(1.0),
        actual.compute_p_above(2.0),
    ) == (
        0.0,
        0.5,
        1.0,
    )


@pytest.mark.parametrize("sds", [{"0": 0.2, "1": 1, "01": 2}, {"0": 1, "01": 2}, {"1": 1, "01": 1}])
def test_the_interval_holds_the_truth_as_often_as_it_says(sds):
    hits, times = 0, 800
    for seed in range(times):
        low, high = decompose_variance(
            drawn((5, 60), sds, seed), "seed", "image"
        ).compute_interval()
        hits += low < 3.0 < high
    assert hits / times > 0.95 - 3 * math.sqrt(0.05 * 0.95 / times)


def test_what_is_not_a_full_grid_is_refused():
    for values, names in (
        (np.ones((1, 5)), ("seed", "image")),
        (np.ones((2, 5)), ("seed",)),
        (np.ones((2, 5)), ("seed", "seed")),
        (np.array([[1.0, math.nan], [0.0, 1.0]]), ("seed", "image")),
    ):
        with pytest.raises(ValueError):
            decompose_variance(values, *names)


def test_degrees_of_freedom_to_be_expected_are_those_found_where_nothing_is_below_0():
    a, b = np.linspace(-3, 3, 6)[:, None], np.linspace(-2, 2, 4)
    values = a + b + np.random.default_rng(3).normal(0, 0.3, (6, 4))
    actual = decompose_variance(values, "seed", "split")
    assert min(actual.components.values()) > 0
    assert actual.compute_expected_df("seed", 6) == pytest.approx(actual.df)
    # More seeds: their part goes and that of four splits stays.
    assert actual.compute_expected_df("seed", 10_000) == pytest.approx(3.0, abs=0.01)
    one = decompose_variance(np.array([1.0, 2.0, 4.0]), "seed")
    assert one.compute_expected_df("seed", 11) == pytest.approx(10.0)
