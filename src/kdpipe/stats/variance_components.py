"""Variance components of crossed values, and the uncertainty of their mean.

Values crossed over random factors (seeds x images; seeds x splits x images), one in each cell, are
`mean + a sum of one effect for every set of factors`, all independent. With n(F) the number of
cells of a set F of factors and N that of all:

    MS(F) = sum of squares of the effects of F / the product over F of (levels - 1)
    variance component of F = n(F) / N * sum over G containing F of (-1)^(|G| - |F|) MS(G)
    variance of the mean = sum over F of its component / n(F)

The first two are the analysis of variance of a balanced random model (Searle, Casella and
McCulloch, Variance Components, 1992, sections 4.3 and 5.2); a negative estimate counts as 0. The
degrees of freedom of the variance are Satterthwaite's (1946), its squares summed over all mean
squares, and not below those of the factor with the fewest levels. With one factor all this is the t
interval. Levels of the first factor may come in groups that differ in their means, as seeds do
whose options were chosen apart (`intervals.select_options`): its mean squares are then those within
groups, with n - groups degrees of freedom for n - 1; with one factor that is the pooled variance.

The second half compares the two fixed factors of a layout (these students, these teachers), with
one value in each cell for each seed. Let y(r) be the layout of seed r, all independent and
identically distributed but otherwise free. With the effects a of rows, b of columns and g of cells,
of S rows and T columns, a component is a quadratic form of the expected layout m, as in the
analysis of variance of a crossed model:

    C(rows) = sum a^2 / (S - 1) - C(cells) / T
    C(cells) = sum g^2 / ((S - 1) (T - 1))

The square of a mean over seeds would include their noise; the mean of products of two different
seeds does not: U = mean over r != r' of Q(y(r), y(r')) is unbiased for Q(m, m), and equal to
(MS(rows) - MS(rows, seeds)) / (T x seeds) and so on (Hoeffding, 1948). Its interval is the
jackknife's (Arvesen, 1969): Student's t over the pseudo-values n U - (n - 1) U(without r), which
are U + 2 (n - 1) / (n - 2) (v(r) - U) where v(r) = Q(y(r), mean of the other seeds). Seeds crossed
with splits have one value for each of both. Two values of one split share its noise as two of one
seed do, so the products are of values that differ in both, and the pseudo-values, stretched along
each axis by its own (n - 1) / (n - 2), are again crossed values.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kdpipe.stats.t_dist import t_ppf, t_sf

TWO_WAY_PARTS = ("rows", "columns", "cells")
MIN_SE = 1e-9  # a standard error below this, in points or nats, is that of rounding
Factors = tuple[str, ...]


@dataclass(frozen=True)
class CrossedMean:
    """A mean over crossed random factors, with the components of its variance.

    Attributes
    ----------
    mean : float
        The mean.
    variance : float
        Variance of the mean.
    df : float
        Degrees of freedom of the variance.
    levels : dict of str to int
        Number of levels of each factor.
    components : dict of tuple of str to float
        Variance that each set of factors adds to a single value, in the unit of the values squared.
        A set is written in the order of `levels`.
    groups : int
        Number of groups of the first factor within which its variance was estimated.
    """

    mean: float
    variance: float
    df: float
    levels: dict[str, int]
    components: dict[Factors, float]
    groups: int = 1

    @property
    def has_spread(self) -> bool:
        """Return whether the values vary: if they do not, no test says anything of their mean."""
        return math.sqrt(self.variance) >= MIN_SE

    def _count_df(self, subset: Factors, levels: dict[str, int]) -> int:
        """Return the degrees of freedom of the effects of a set of factors."""
        first = next(iter(levels))
        return math.prod(levels[name] - (self.groups if name == first else 1) for name in subset)

    def compute_variance_without(self, *factors: str) -> float:
        """Return the variance of the mean without the components of some factors.

        That is what more levels of these factors would not take away.

        Parameters
        ----------
        *factors : str
            Factors whose components are left out.

        Returns
        -------
        float
            Variance of the mean.
        """
        return sum(
            component / math.prod(self.levels[name] for name in subset)
            for subset, component in self.components.items()
            if not set(subset) & set(factors)
        )

    def compute_expected_df(self, factor: str, size: int) -> float:
        """Return the degrees of freedom to expect with another number of levels of a factor.

        Parameters
        ----------
        factor : str
            One of the factors.
        size : int
            Its number of levels.

        Returns
        -------
        float
            Satterthwaite's degrees of freedom, the components being as estimated.
        """
        levels = {name: size if name == factor else count for name, count in self.levels.items()}
        cells = {subset: math.prod(levels[name] for name in subset) for subset in self.components}
        variance = sum(part / cells[subset] for subset, part in self.components.items())
        df_terms = 0.0
        for subset in self.components:
            above = [other for other in self.components if set(subset) <= set(other)]
            square = sum(self.components[other] / cells[other] for other in above)
            df_terms += square**2 / self._count_df(subset, levels)
        min_df = float(min(self._count_df((name,), levels) for name in levels))
        return max(min_df, variance**2 / df_terms) if df_terms > 0 else min_df

    def compute_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the t interval of the mean.

        Parameters
        ----------
        level : float
            Confidence level.

        Returns
        -------
        low, high : float
            The interval.
        """
        half = t_ppf((1 + level) / 2, self.df) * math.sqrt(self.variance)
        return self.mean - half, self.mean + half

    def compute_p_above(self, margin: float = 0.0) -> float:
        """Return the p-value of 'the mean is above margin'."""
        return t_sf(self.mean - margin, math.sqrt(self.variance), self.df)

    def compute_p_below(self, margin: float = 0.0) -> float:
        """Return the p-value of 'the mean is below margin'."""
        return t_sf(margin - self.mean, math.sqrt(self.variance), self.df)


def decompose_variance(
    values: np.ndarray, *factors: str, groups: Sequence[int] | None = None
) -> CrossedMean:
    """Estimate the variance components of values crossed over random factors.

    Parameters
    ----------
    values : ndarray of float
        One value in each cell, one axis for each factor.
    *factors : str
        Names of the axes.
    groups : sequence of int, optional
        The group of each level of the first factor. Groups may differ in their means: the effects
        of the first factor, alone and with others, are then those within groups, with as many
        degrees of freedom less as there are further groups.

    Returns
    -------
    CrossedMean
        The mean over all factors.

    Raises
    ------
    ValueError
        If a factor has fewer than two levels, a value is not finite, or the names do not fit the
        axes.

    References
    ----------
    S. R. Searle, G. Casella and C. E. McCulloch, Variance Components, 1992, sections 4.3 and 5.2.
    F. E. Satterthwaite, An approximate distribution of estimates of variance components, 1946.
    """
    values = np.asarray(values, dtype=float)
    if len(factors) != values.ndim or len(set(factors)) < len(factors):
        raise ValueError(f"{values.ndim} axes need {values.ndim} names, not {', '.join(factors)}")
    if min(values.shape, default=0) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"at least two levels of each factor, with all cells, are required: {values.shape}"
        )
    mean, axes = float(values.mean()), tuple(range(values.ndim))
    squares, df = _compute_sums_of_squares(values - mean), {}
    n_groups = len(set(groups)) if groups is not None else 1
    if groups is not None and n_groups > 1:
        if values.shape[0] <= n_groups:
            raise ValueError(f"{n_groups} groups of {values.shape[0]} levels leave no variance")
        within = _compute_sums_of_squares(_center_groups(values, np.asarray(groups)))
        rounding = 1e-12 * float(((values - mean) ** 2).sum())
        squares |= {
            subset: square if square > rounding else 0.0
            for subset, square in within.items()
            if 0 in subset
        }
    for subset in _iter_subsets(axes):
        df[subset] = math.prod(values.shape[axis] - (1 if axis else n_groups) for axis in subset)
        squares[subset] /= df[subset]
    components, variance = {}, 0.0
    for subset in _iter_subsets(axes):
        cells = math.prod(values.shape[axis] for axis in subset)
        alternating = sum(
            (-1) ** (len(other) - len(subset)) * square
            for other, square in squares.items()
            if set(subset) <= set(other)
        )
        component = max(0.0, float(alternating)) * cells / values.size
        components[tuple(factors[axis] for axis in subset)] = component
        variance += component / cells
    df_terms = sum((squares[subset] / values.size) ** 2 / df[subset] for subset in squares)
    min_df = min(df[axis,] for axis in axes)
    df_mean = max(float(min_df), variance**2 / df_terms) if df_terms > 0 else float(min_df)
    levels = dict(zip(factors, values.shape, strict=True))
    return CrossedMean(mean, variance, df_mean, levels, components, n_groups)


def _center_groups(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return values less the mean of their group over the first axis."""
    centered = values.astype(float)
    for group in np.unique(groups):
        centered[groups == group] -= centered[groups == group].mean(axis=0)
    return centered


def _compute_sums_of_squares(centered: np.ndarray) -> dict[tuple[int, ...], float]:
    """Compute the sum of squares of the effects of every set of axes."""
    axes = tuple(range(centered.ndim))
    raw: dict[tuple[int, ...], float] = {(): 0.0}
    for subset in _iter_subsets(axes):
        others = tuple(axis for axis in axes if axis not in subset)
        means = centered.mean(axis=others)
        raw[subset] = float((means * means).sum()) * centered.size / means.size
    squares = {}
    for subset in _iter_subsets(axes):
        squares[subset] = raw[subset] - sum(
            squares[part] for part in _iter_subsets(subset) if part != subset
        )
        if squares[subset] <= 1e-12 * raw[axes]:  # rounding
            squares[subset] = 0.0
    return squares


def _iter_subsets(axes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield every non-empty set of axes, small ones first."""
    for size in range(1, len(axes) + 1):
        yield from combinations(axes, size)


# --- two fixed factors, with seeds (and splits) random


@dataclass(frozen=True)
class ComponentDifference:
    """The difference of two variance components, C(rows) - C(columns).

    Attributes
    ----------
    values : ndarray of float, shape (seeds,) or (seeds, splits)
        Pseudo-values of the difference; their mean is the estimate.
    weights : ndarray of float, shape (..., rows, columns)
        Gradient of a pseudo-value by the layout of its seed, to first order, all seeds counted.
    shares : ndarray of float, shape (seeds,), or None
        Pseudo-values of the difference as a share of the variance of a single value; None with
        several splits.
    """

    values: np.ndarray
    weights: np.ndarray
    shares: np.ndarray | None


def compare_components(layouts: np.ndarray) -> ComponentDifference:
    """Estimate the difference of the variance components of rows and columns.

    Parameters
    ----------
    layouts : ndarray of float, shape (seeds, rows, columns) or (seeds, splits, rows, columns)
        One layout for each seed (and split); three of each and more.

    Returns
    -------
    ComponentDifference
        The jackknife's pseudo-values.

    References
    ----------
    W. Hoeffding, A class of statistics with asymptotically normal distribution, 1948.
    J. N. Arvesen, Jackknifing U-statistics, 1969.
    """
    others = _average_others(layouts)
    weights = _compute_gradient(others, "rows") - _compute_gradient(others, "columns")
    values = (weights * layouts).sum(axis=(-2, -1))
    estimate = values.mean()
    for axis, n in enumerate(values.shape):
        mean = values.mean(axis=axis, keepdims=True)
        values = mean + (n - 1) / (n - 2) * (values - mean)
    return ComponentDifference(
        estimate + 2 * (values - estimate), 2 * weights, _jackknife_shares(layouts)
    )


def estimate_two_way_components(layouts: np.ndarray) -> dict[str, float]:
    """Estimate the components of rows, columns and cells, and of what is left.

    Parameters
    ----------
    layouts : ndarray of float
        As in `compare_components`.

    Returns
    -------
    dict of str to float
        Components of `rows`, `columns`, `cells`, and of `seeds` (and splits); negative ones are 0.
    """
    estimates = {part: max(0.0, _estimate_component(layouts, part)) for part in TWO_WAY_PARTS}
    return estimates | {"seeds": float((layouts * (layouts - _average_others(layouts))).mean())}


def _jackknife_shares(layouts: np.ndarray) -> np.ndarray | None:
    """Compute pseudo-values of the difference as a share of the total variance."""
    if layouts.ndim > 3:
        return None
    n = len(layouts)
    without = np.array([_compute_share(np.delete(layouts, r, axis=0)) for r in range(n)])
    return n * _compute_share(layouts) - (n - 1) * without


def _compute_share(layouts: np.ndarray) -> float:
    """Compute the difference of the components as a share of the total variance."""
    total = sum(estimate_two_way_components(layouts).values())
    difference = _estimate_component(layouts, "rows") - _estimate_component(layouts, "columns")
    return difference / total if total else 0.0


def _estimate_component(layouts: np.ndarray, part: str) -> float:
    """Estimate one component without bias; it may be negative."""
    products = _compute_gradient(_average_others(layouts), part) * layouts
    return float(products.sum(axis=(-2, -1)).mean())


def _average_others(layouts: np.ndarray) -> np.ndarray:
    """Average, for each layout, those of other seeds and (if several) splits."""
    for axis in range(layouts.ndim - 2):
        total = layouts.sum(axis=axis, keepdims=True)
        layouts = (total - layouts) / (layouts.shape[axis] - 1)
    return layouts


def _compute_gradient(x: np.ndarray, part: str) -> np.ndarray:
    """Return w such that sum w y is a part's quadratic form at layouts x and y."""
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
