"""The second interval of losses and other means over images, against a slow calculation by hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdpipe.errors import StoreError
from kdpipe.runs import per_image
from kdpipe.stats.error_provenance import (
    ErrorWithProvenance,
    ImageQuantity,
    estimate_image_level,
)
from kdpipe.stats.replicates import make_replicate_id

IMAGES = 40


def losses(runs, seed=0):
    """Cross-entropies by run, of images that are hard or easy for all of them."""
    random = np.random.default_rng(seed)
    ease = random.normal(2, 2, IMAGES)
    taste = {name: random.normal(0, 0.5, IMAGES) for name in sorted({run[0] for run in runs})}
    noise = {run: random.normal(0, 0.3) + random.normal(0, 0.7, IMAGES) for run in runs}
    return {run: np.logaddexp(0, -(ease + taste[run[0]] + noise[run])) for run in runs}


def known(values, metric="val_nll"):
    by_quantity = {ImageQuantity(run, metric): row for run, row in values.items()}
    return by_quantity.get


def quantity(run, value, metric="val_nll"):
    return ErrorWithProvenance(value, {ImageQuantity(run, metric): 1.0})


def differences(values, seeds):
    """a - b by seed, as the claims make them."""
    rows = [
        quantity(f"a{s}", values[f"a{s}"].mean()) - quantity(f"b{s}", values[f"b{s}"].mean())
        for s in range(seeds)
    ]
    return pd.Series(rows, dtype=object)


def two_way_by_hand(grid, level):
    """Searle, Casella and McCulloch, sections 4.3 and 5.2, and Satterthwaite, in loops."""
    n, m = len(grid), len(grid[0])
    mean = sum(map(sum, grid)) / (n * m)
    by_seed = [sum(row) / m for row in grid]
    by_image = [sum(row[i] for row in grid) / n for i in range(m)]
    ms_seed = m * sum((value - mean) ** 2 for value in by_seed) / (n - 1)
    ms_image = n * sum((value - mean) ** 2 for value in by_image) / (m - 1)
    rest = [
        (grid[s][i] - by_seed[s] - by_image[i] + mean) ** 2
        for s, i in itertools.product(range(n), range(m))
    ]
    ms_both = sum(rest) / ((n - 1) * (m - 1))
    seed = max(0.0, (ms_seed - ms_both) / m)
    image = max(0.0, (ms_image - ms_both) / n)
    variance = seed / n + image / m + ms_both / (n * m)
    terms = [(ms_seed, n - 1), (ms_image, m - 1), (ms_both, (n - 1) * (m - 1))]
    spread = sum((square / (n * m)) ** 2 / df for square, df in terms)
    df = max(n - 1, m - 1 if m < n else n - 1, variance**2 / spread)
    half = stats.t.ppf((1 + level) / 2, df) * math.sqrt(variance)
    return mean - half, mean + half


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_a_mean_of_differences_of_cross_entropy_has_the_interval_of_a_slow_calculation(seeds):
    values = losses([f"{arm}{s}" for arm in "ab" for s in range(seeds)], seed=seeds)
    actual = estimate_image_level(differences(values, seeds), known(values)).estimate
    grid = [list(values[f"a{s}"] - values[f"b{s}"]) for s in range(seeds)]
    for level in (0.9, 0.95):
        assert actual.compute_interval(level) == pytest.approx(two_way_by_hand(grid, level))


def test_it_is_wider_than_over_seeds_where_images_differ():
    values = losses([f"{arm}{s}" for arm in "ab" for s in range(8)])
    low, high = estimate_image_level(
        differences(values, 8), known(values)
    ).estimate.compute_interval(0.95)
    means = np.array([values[f"a{s}"].mean() - values[f"b{s}"].mean() for s in range(8)])
    over_seeds = stats.t.interval(0.95, 7, means.mean(), stats.sem(means))
    assert high - low > 1.15 * (over_seeds[1] - over_seeds[0])


def test_stored_losses_give_the_interval_of_the_exact_ones_and_their_mean():
    """8 bits: the mean is that of the records, and the interval nearly the same."""
    values = losses([f"{arm}{s}" for arm in "ab" for s in range(5)])
    stored = {
        run: per_image.decode_losses(per_image.encode_losses(row)) for run, row in values.items()
    }
    exact = estimate_image_level(differences(values, 5), known(values)).estimate
    actual = estimate_image_level(differences(values, 5), known(stored)).estimate
    assert actual.mean == pytest.approx(exact.mean, abs=1e-12)
    assert actual.variance == pytest.approx(exact.variance, rel=0.01)
    off = {run: row * (1.5 if run == "a0" else 1) for run, row in stored.items()}
    with pytest.raises(StoreError, match="outcomes of a0, b0 are not those of their records"):
        estimate_image_level(differences(values, 5), known(off))


def test_errors_and_losses_may_be_added():
    """Points are 100 times a mask, nats are nats."""
    masks = {f"r{s}": np.random.default_rng(s).random(IMAGES) < 0.3 for s in range(3)}
    values = losses([f"a{s}" for s in range(3)])
    rows = [
        ErrorWithProvenance(100 * masks[f"r{s}"].mean(), {f"r{s}": 1.0})
        + 2 * quantity(f"a{s}", values[f"a{s}"].mean())
        for s in range(3)
    ]
    lookup = {**masks, **{ImageQuantity(run, "val_nll"): row for run, row in values.items()}}
    actual = estimate_image_level(pd.Series(rows, dtype=object), lookup.get).estimate
    grid = [list(100.0 * masks[f"r{s}"] + 2 * values[f"a{s}"]) for s in range(3)]
    assert actual.compute_interval(0.95) == pytest.approx(two_way_by_hand(grid, 0.95))


def test_what_is_missing_is_named():
    values = losses([f"{arm}{s}" for arm in "ab" for s in range(3)])
    del values["b2"]
    actual = estimate_image_level(differences(values | {"b2": values["a2"]}, 3), known(values))
    assert actual.why == "the cross-entropy of single validation images is not known of b2"
    epochs = ErrorWithProvenance(5.0, {ImageQuantity("a0", "val_error", (1, 2)): 1.0})
    actual = estimate_image_level(pd.Series([epochs], dtype=object), known({}))
    assert actual.why.startswith("the error on single validation images, epoch by epoch, is not")


def test_other_numbers_of_images_are_no_grid():
    values = {f"a{s}": np.full(10 + s, 1.0) for s in range(3)}
    rows = [quantity(run, 1.0) for run in values]
    actual = estimate_image_level(pd.Series(rows, dtype=object), known(values))
    assert actual.why == "its runs have different numbers of images"


def test_validation_images_of_several_splits_are_others_in_each():
    """Crossed with images as if they were the same, the variance of the mean is not too small.

    It is 4 / (4 x 60); components that are 0 and are estimated from 0 up add to it.
    """
    variances, means = [], []
    for study in range(200):
        random = np.random.default_rng(study)
        rows, values = {}, {}
        for split in range(4):
            image = random.normal(0, 2, 60)  # redrawn with the split, and shared by its seeds
            for seed in range(4):
                row = 5 + image + random.normal(0, 0.5, 60)
                values[f"{seed}/{split}"] = row
                rows[make_replicate_id(seed, split)] = quantity(f"{seed}/{split}", row.mean())
        estimate = estimate_image_level(pd.Series(rows, dtype=object), known(values)).estimate
        variances.append(estimate.variance)
        means.append(estimate.mean)
    assert np.var(means) == pytest.approx(4 / (4 * 60), rel=0.2)
    assert 1 < np.mean(variances) / (4 / (4 * 60)) < 1.6
