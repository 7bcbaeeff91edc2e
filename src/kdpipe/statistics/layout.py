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
are (2 (n - 1) v(r) - n U) / (n - 2) where v(r) = Q(y(r), mean of the other seeds).
"""

from dataclasses import dataclass

import numpy as np

PARTS = ("rows", "columns", "cells")


@dataclass(frozen=True)
class Difference:
    """C(rows) - C(columns): `values` are its pseudo-values by seed, their mean is the estimate.

    `weights`, (seeds, rows, columns): how a value moves with the layout of its seed, to first
    order, all seeds counted; `shares` are the pseudo-values of the difference as a share of the
    variance of a single value.
    """

    values: np.ndarray
    weights: np.ndarray
    shares: np.ndarray


def difference(layouts: np.ndarray) -> Difference:
    """The difference of two components. layouts: (seeds, rows, columns), three seeds and more."""
    n = len(layouts)
    others = (layouts.sum(axis=0) - layouts) / (n - 1)
    weights = _gradient(others, "rows") - _gradient(others, "columns")
    by_seed = (weights * layouts).sum(axis=(1, 2))
    values = (2 * (n - 1) * by_seed - n * by_seed.mean()) / (n - 2)
    without = np.array([_share(np.delete(layouts, r, axis=0)) for r in range(n)])
    return Difference(values, 2 * weights, n * _share(layouts) - (n - 1) * without)


def components(layouts: np.ndarray) -> dict[str, float]:
    """Of rows, columns and cells, and of the seeds: what is left. Negative ones are 0."""
    found = {part: max(0.0, _unbiased(layouts, part)) for part in PARTS}
    return found | {"seeds": float(layouts.var(axis=0, ddof=1).mean())}


def _share(layouts: np.ndarray) -> float:
    total = sum(components(layouts).values())
    apart = _unbiased(layouts, "rows") - _unbiased(layouts, "columns")
    return apart / total if total else 0.0


def _unbiased(layouts: np.ndarray, part: str) -> float:
    others = (layouts.sum(axis=0) - layouts) / (len(layouts) - 1)
    return float((_gradient(others, part) * layouts).sum(axis=(1, 2)).mean())


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
