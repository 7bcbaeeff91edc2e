"""Components of a layout with random seeds against mean squares, a slow jackknife, and noise."""

import numpy as np
import pytest

from kdpipe.stats.variance_components import (
    _estimate_component,
    compare_components,
    decompose_variance,
    estimate_two_way_components,
)


def drawn(seeds, rows, columns, seed=0, by_row=0.0, by_column=0.0, noise=1.0):
    random = np.random.default_rng(seed)
    a, b = (np.linspace(-1, 1, k) for k in (rows, columns))
    means = by_row * a[:, None] / a.std(ddof=1) + by_column * b / b.std(ddof=1)
    return means + random.normal(0, noise, (seeds, rows, columns))


def mean_squares(y):
    """Of rows, columns and cells, and of each with the seeds, of an analysis of variance."""
    n, rows, columns = y.shape
    a = y.mean(axis=2) - y.mean(axis=(1, 2))[:, None]
    b = y.mean(axis=1) - y.mean(axis=(1, 2))[:, None]
    g = (
        y
        - y.mean(axis=2)[:, :, None]
        - y.mean(axis=1)[:, None]
        + y.mean(axis=(1, 2))[:, None, None]
    )
    actual = []
    parts = ((a, rows - 1, columns), (b, columns - 1, rows), (g, (rows - 1) * (columns - 1), 1))
    for effects, df, size in parts:
        between = n * size * (effects.mean(axis=0) ** 2).sum() / df
        within = size * ((effects - effects.mean(axis=0)) ** 2).sum() / (df * (n - 1))
        actual.append((between, within))
    return actual


@pytest.mark.parametrize("shape", [(5, 8, 2), (3, 2, 4), (10, 3, 3)])
def test_components_are_those_of_the_mean_squares(shape):
    n, rows, columns = shape
    y = drawn(*shape, by_row=1.0, by_column=0.7)
    (row, row_seed), (column, column_seed), (cell, cell_seed) = mean_squares(y)
    cells = (cell - cell_seed) / n
    expected = {
        "rows": (row - row_seed) / (n * columns) - cells / columns,
        "columns": (column - column_seed) / (n * rows) - cells / rows,
        "cells": cells,
    }
    for part, value in expected.items():
        assert _estimate_component(y, part) == pytest.approx(value)
    assert estimate_two_way_components(y)["seeds"] == pytest.approx(y.var(axis=0, ddof=1).mean())
    assert compare_components(y).values.mean() == pytest.approx(
        expected["rows"] - expected["columns"]
    )


def test_the_pseudo_values_are_those_of_leaving_each_seed_out():
    y = drawn(6, 3, 4, by_row=1.0)
    whole = _estimate_component(y, "rows") - _estimate_component(y, "columns")
    for r, value in enumerate(compare_components(y).values):
        less = np.delete(y, r, axis=0)
        without = _estimate_component(less, "rows") - _estimate_component(less, "columns")
        assert value == pytest.approx(6 * whole - 5 * without)


def test_the_weights_say_how_the_estimate_moves():
    y = drawn(5, 2, 3, by_row=2.0)
    actual, step = compare_components(y), 1e-6
    shift = np.random.default_rng(1).normal(0, 1, (2, 3))
    moved = compare_components(y + step * shift).values.mean() - actual.values.mean()
    assert (actual.weights * shift).sum(axis=(1, 2)).mean() == pytest.approx(moved / step, rel=1e-4)


@pytest.mark.parametrize("shape", [(5, 8, 2), (3, 2, 2)])
def test_pure_noise_and_equal_shares_are_rarely_taken_for_a_difference(shape):
    # Standard deviations of unequal counts said so in 53 to 88 of 100 studies of pure noise.
    for by_both in (0.0, 1.0):
        message = 0
        for seed in range(400):
            y = drawn(*shape, seed=seed, by_row=by_both, by_column=by_both)
            message += (
                decompose_variance(compare_components(y).values, "seed").compute_p_above() < 0.05
            )
        assert message / 400 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def in_splits(seeds, splits, rows, columns, seed, by_both):
    """Each student has a noise of its own in each split, far above that of single runs."""
    random = np.random.default_rng(seed)
    of_split = random.normal(0, 1.0, (1, splits, rows, 1))
    runs = np.stack(
        [drawn(seeds, rows, columns, seed + 1000 * k, noise=0.3) for k in range(splits)]
    )
    means = drawn(1, rows, columns, by_row=by_both, by_column=by_both, noise=0.0)
    return means + of_split + runs.swapaxes(0, 1)


def test_products_are_of_values_that_differ_in_seed_and_split():
    y = in_splits(3, 4, 2, 3, 0, 1.0)
    flat = [(s, k) for s in range(3) for k in range(4)]
    pairs = [(a, b) for a in flat for b in flat if a[0] != b[0] and a[1] != b[1]]
    # A form is found from that of sums: Q(a, b) = (Q(a + b) - Q(a) - Q(b)) / 2.
    one = {a: mean_form(y[a]) for a in flat}
    expected = np.mean([(mean_form(y[a] + y[b]) - one[a] - one[b]) / 2 for a, b in pairs])
    assert compare_components(y).values.mean() == pytest.approx(expected)
    left = np.mean([(y[a] - y[b]) ** 2 / 2 for a, b in pairs])
    assert estimate_two_way_components(y)["seeds"] == pytest.approx(left)


def mean_form(layout):
    """C(rows) - C(columns) of one layout, by the means of its rows and columns."""
    rows, columns = layout.shape
    cells = layout - layout.mean(1)[:, None] - layout.mean(0) + layout.mean()
    of_cells = (cells**2).sum() / ((rows - 1) * (columns - 1))
    of_rows, of_columns = layout.mean(1).var(ddof=1), layout.mean(0).var(ddof=1)
    return of_rows - of_cells / columns - (of_columns - of_cells / rows)


@pytest.mark.parametrize("by_both", [0.0, 1.0])
def test_the_noise_of_splits_is_not_taken_for_capacity(by_both):
    # Products of one split made it 0.25 more.
    actual = [compare_components(in_splits(3, 3, 4, 2, seed, by_both)) for seed in range(400)]
    judged = [decompose_variance(one.values, "seed", "split") for one in actual]
    assert abs(np.mean([one.mean for one in judged])) < 0.12
    assert np.mean([one.compute_p_above() < 0.05 for one in judged]) < 0.05
    inside = [low < 0 < high for low, high in (one.compute_interval() for one in judged)]
    assert np.mean(inside) > 0.95
