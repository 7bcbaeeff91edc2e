"""Which factor of a two-way layout sets the result: variance components, seeds random.

The levels (these students, these teachers) are fixed, each cell has one value for each seed, and
y(r) is the layout of seed r, all independent and alike but otherwise free. With the effects a of
rows, b of columns and g of cells, of S rows and T columns, a component is a quadratic form of the
expected layout m, as in the analysis of variance of a crossed model:

    C(rows) = sum a^2 / (S - 1) - C(cells) / T        C(cells) = sum g^2 / ((S - 1) (T - 1))

A square of a mean over seeds would count their noise in; the mean of products of two different
seeds does not: U = mean over r != r' of Q(y(r), y(r')) is without bias for Q(m, m), and equal to
(MS(rows) - MS(rows, seeds)) / (T x seeds) and so on (Hoeffding, 1948). Its interval is the
jackknife's (Arvesen, 1969): Student's t over the pseudo-values n U - (n - 1) U(without r), which
are U + 2 (n - 1) / (n - 2) (v(r) - U) where v(r) = Q(y(r), mean of the other seeds).

Seeds crossed with splits make one value for each of both. Two of one split share its noise as two
of one seed do, so the products are of values that differ in both, and the pseudo-values, stretched
along each axis by its own (n - 1) / (n - 2), are crossed values (see components).
"""

from dataclasses import dataclass

import numpy as np

PARTS = ("rows", "columns", "cells")


@dataclass(frozen=True)
class Difference:
    """C(rows) - C(columns): `values` are its pseudo-values, their mean is the estimate.

    values: (seeds,), or (seeds, splits); `weights`, (..., rows, columns): how a value moves with
    the layout of its seed, to first order, all seeds counted; `shares` are the pseudo-values of the
    difference as a share of the variance of a single value, of one split only.
    """

    values: np.ndarray
    weights: np.ndarray
    shares: np.ndarray | None


def difference(layouts: np.ndarray) -> Difference:
    """The difference of two components.

    layouts: (seeds, rows, columns), or (seeds, splits, rows, columns); three of each and more.
    """
    others = _others(layouts)
    weights = _gradient(others, "rows") - _gradient(others, "columns")
    values = (weights * layouts).sum(axis=(-2, -1))
    found = values.mean()
    for axis, n in enumerate(values.shape):
        mean = values.mean(axis=axis, keepdims=True)
        values = mean + (n - 1) / (n - 2) * (values - mean)
    return Difference(found + 2 * (values - found), 2 * weights, _shares(layouts))


def components(layouts: np.ndarray) -> dict[str, float]:
    """Of rows, columns and cells, and of seeds (and splits): what is left. Negative ones are 0."""
    found = {part: max(0.0, _unbiased(layouts, part)) for part in PARTS}
    return found | {"seeds": float((layouts * (layouts - _others(layouts))).mean())}


def _shares(layouts: np.ndarray) -> np.ndarray | None:
    if layouts.ndim > 3:
        return None
    n = len(layouts)
    without = np.array([_share(np.delete(layouts, r, axis=0)) for r in range(n)])
    return n * _share(layouts) - (n - 1) * without


def _share(layouts: np.ndarray) -> float:
    total = sum(components(layouts).values())
    apart = _unbiased(layouts, "rows") - _unbiased(layouts, "columns")
    return apart / total if total else 0.0


def _unbiased(layouts: np.ndarray, part: str) -> float:
    found = _gradient(_others(layouts), part) * layouts
    return float(found.sum(axis=(-2, -1)).mean())


def _others(layouts: np.ndarray) -> np.ndarray:
    """For each layout the mean of those of another seed and, of several splits, another split."""
    for axis in range(layouts.ndim - 2):
        total = layouts.sum(axis=axis, keepdims=True)
        layouts = (total - layouts) / (layouts.shape[axis] - 1)
    return layouts


def _gradient(x: np.ndarray, part: str) -> np.ndarray:
    """w such that sum w y is the form of a part at layouts x and y; x: (..., rows, columns)."""
    rows, columns = x.shape[-2:]
    by_row = x.mean(axis=-1, keepdims=True) - x.mean(axis=(-2, -1), keepdims=True)
    by_column = x.mean(axis=-2, keepdims=True) - x.mean(axis=(-2, -1), keepdims=True)
    cells = x - x.mean(axis=(-2, -1), keepdims=True) - by_row - by_column
    cells = cells / ((rows - 1) * (columns - 1))
    if part == "cells":
        return cells
    if part == "rows":
        return by_row / (rows - 1) / columns - cells / columns
    return by_column / (columns - 1) / rows - cells / rows
