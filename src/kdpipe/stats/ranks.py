"""Ranks of options by mean error, and their uncertainty.

How sure a rank is, and the probability of being the best of all, are those of a model of the
options' errors (`posterior`): over other seeds, other splits and other images than those of the
study, where these are known. benchmarks/p_best.md says how often it is true.

A rank correlation has an interval over seeds. They are resampled with replacement, each draw for
all options at once, so that what the options of one seed share stays shared; several splits are
resampled too, each in every seed (the pigeonhole bootstrap: Owen, 2007, never too narrow). With few
seeds or splits bootstrap percentiles are too narrow: they are taken as far out as makes the
interval of a single mean as wide as its t interval (Hesterberg, 2015, section 4.1.3, the expanded
percentile interval). Earlier choices are held fixed.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from kdpipe.stats import posterior, replicates
from kdpipe.stats.error_provenance import ErrorMaskLookup
from kdpipe.stats.image_spread import find_image_spread
from kdpipe.stats.intervals import MIN_SEEDS, Summary, summarize

N_DRAWS = 5_000  # of the model
N_RESAMPLES = 5_000
N_PERMUTATIONS = 50_000  # orders of the options: all of up to eight, else a sample
MIN_BOOTSTRAP_SEEDS = 5  # seeds: of four there are only 35 different resamples
BOOTSTRAP_SEED = 0  # of the resampling: a report rendered again is the same


@dataclass(frozen=True)
class Rank:
    """The rank of an option by mean error; 1 is the lowest error, ties share the mean rank.

    Attributes
    ----------
    rank : float
        Rank by mean error.
    total : int
        Number of options.
    low, high : float
        Interval of 95 %; nan below three seeds, and with two splits.
    p_best : float
        Probability of being the best of all; nan likewise.
    images : {"validation", "test", ""}
        The images whose outcomes say what other images would change; empty if none are known, so
        that the rank is about these images.
    is_validation : bool
        Whether the errors are those on validation.
    """

    rank: float
    total: int
    low: float = math.nan
    high: float = math.nan
    p_best: float = math.nan
    images: str = ""
    is_validation: bool = False


def rank_options(
    errors: pd.DataFrame,
    groups: Sequence[Hashable] | None = None,
    outcomes: ErrorMaskLookup | None = None,
    n_validation: float = math.nan,
) -> dict[Any, Rank]:
    """Rank options by mean error.

    Options without any result have no rank; then only seeds that have all the others count and, of
    several splits, only those with all splits.

    Parameters
    ----------
    errors : DataFrame of float, shape (replicates, options)
        Errors in points; nan is no result.
    groups : sequence of hashable, shape (options,), optional
        The teacher of each option: those of one are alike. By default each has one of its own.
    outcomes : callable or None
        Returns what a run did on single images; for errors with provenance
        (`stats.error_provenance`).
    n_validation : float
        The number of validation images of validation errors.

    Returns
    -------
    dict of str to Rank
        The rank of each option that can have one.
    """
    is_known = [bool(errors[option].notna().any()) for option in errors]
    known = errors.loc[:, is_known].dropna()
    positions = _find_grid(known)
    if not positions.size:
        return {}
    known = known.iloc[positions.ravel()]
    values, count = known.to_numpy(float), len(known.columns)
    mean_ranks = stats.rankdata(np.round(values.mean(axis=0), 9))
    ranks = [Rank(rank, count) for rank in mean_ranks.tolist()]
    if count > 1 and _has_enough(positions, MIN_SEEDS):
        labels = list(errors.columns) if groups is None else list(groups)
        teachers = [label for label, there in zip(labels, is_known, strict=True) if there]
        images = find_image_spread(known, teachers, outcomes, n_validation)
        splits = np.tile(np.arange(positions.shape[1]), positions.shape[0])
        codes = pd.factorize(pd.Series(teachers, dtype=object))[0]
        model = posterior.fit_posterior(values.T, codes, images=images, splits=splits)
        if model is not None:
            draws = model.draw_errors(N_DRAWS)
            low, high = np.quantile(
                stats.rankdata(draws, axis=1), (0.025, 0.975), axis=0, method="nearest"
            )
            columns = zip(low.tolist(), high.tolist(), posterior.compute_p_best(draws), strict=True)
            ranks = [
                replace(
                    rank,
                    low=one_low,
                    high=one_high,
                    p_best=float(p),
                    images=images.source,
                    is_validation=images.is_by_split,
                )
                for rank, (one_low, one_high, p) in zip(ranks, columns, strict=True)
            ]
    return dict(zip(known.columns, ranks, strict=True))


def correlate_ranks(errors: pd.DataFrame, expected: pd.Series) -> tuple[pd.Series, Summary]:
    """Correlate errors with an expected order of the options, by Spearman's rho.

    Only replicates that have every option count; below five seeds there is no interval.

    Parameters
    ----------
    errors : DataFrame of float, shape (replicates, options)
        Errors in points.
    expected : Series of float
        Expected value by option.

    Returns
    -------
    by_replicate : Series of float
        The rho of each replicate's own errors.
    summary : Summary
        Its mean is the rho of the mean errors, its interval is from resampled seeds (and splits).

    References
    ----------
    A. B. Owen, The pigeonhole bootstrap, Annals of Applied Statistics, 2007.
    T. C. Hesterberg, What teachers should know about the bootstrap, The American Statistician,
    2015.
    """
    known = errors.reindex(columns=expected.index).astype(float).dropna()
    rows, target = known.to_numpy(), expected.to_numpy(float)
    by_replicate = pd.Series(
        _compute_spearman(rows, target) if len(rows) else [], index=known.index, dtype=float
    )
    result, values = summarize(by_replicate), _cross_errors(known)
    if not values.size:
        return by_replicate, result
    rho = float(_compute_spearman(values.mean(axis=(0, 1))[None], target)[0])
    low = high = math.nan
    if _has_enough(values):
        low, high = np.quantile(
            _compute_spearman(_bootstrap_means(values), target), _compute_tails(values)
        ).tolist()
    return by_replicate, replace(result, mean=rho, low=low, high=high)


def correlate_ranks_within(errors: pd.DataFrame, predictors: pd.DataFrame) -> pd.Series:
    """Return Spearman's rho of two measures of the same options, within each replicate.

    Parameters
    ----------
    errors, predictors : DataFrame of float, shape (replicates, options)
        The measures, without missing values.

    Returns
    -------
    Series of float
        The rho by replicate; 0 where all options are equal.
    """
    pairs = zip(errors.to_numpy(float), predictors.to_numpy(float), strict=True)
    rhos = [float(_compute_spearman(row[None], target)[0]) for row, target in pairs]
    return pd.Series(rhos, index=errors.index, dtype=float)


def compute_permutation_p(errors: pd.DataFrame, expected: pd.Series) -> float:
    """Return the one-sided p of the rho of the mean errors over all orders of the options.

    That is the share of orders of the expected values whose rho is as large; all of them where
    there are no more than `N_PERMUTATIONS`, else a sample.

    Parameters
    ----------
    errors : DataFrame of float, shape (replicates, options)
        Errors in points; only replicates that have every option count.
    expected : Series of float
        Expected value by option.

    Returns
    -------
    float
        The p-value; nan without any replicate.
    """
    values = _cross_errors(errors.reindex(columns=expected.index).astype(float).dropna())
    if not values.size:
        return math.nan
    ranks = stats.rankdata(np.round(values.mean(axis=(0, 1)), 9))
    centered = ranks - ranks.mean()
    # The product rises with rho, whatever the order.
    test = stats.permutation_test(
        (stats.rankdata(expected.to_numpy(float)),),
        lambda orders, axis: (orders * centered).sum(axis=axis),
        permutation_type="pairings",
        alternative="greater",
        n_resamples=N_PERMUTATIONS,
        batch=1_000,
        axis=-1,
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )
    return float(test.pvalue)


def _find_grid(errors: pd.DataFrame) -> np.ndarray:
    """Return the rows of errors as (seeds, splits), without seeds that lack a split."""
    rows = pd.Series(range(len(errors)), index=errors.index, dtype=float)
    return replicates.to_grid(rows).to_numpy(int)


def _cross_errors(errors: pd.DataFrame) -> np.ndarray:
    """Return errors as (seeds, splits, options), without seeds that lack a split."""
    return errors.to_numpy()[_find_grid(errors)]


def _has_enough(values: np.ndarray, min_seeds: int = MIN_BOOTSTRAP_SEEDS) -> bool:
    """Return whether there are enough seeds and splits; one split is fixed."""
    return len(values) >= min_seeds and values.shape[1] not in range(2, MIN_SEEDS)


def _bootstrap_means(values: np.ndarray) -> np.ndarray:
    """Return (draws, options) means over resampled seeds and splits."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    seeds, splits = (
        rng.multinomial(count, [1 / count] * count, size=N_RESAMPLES) / count
        for count in values.shape[:2]
    )
    means = np.einsum("ds,dt,sto->do", seeds, splits, values, optimize=True)
    return np.round(means, 9)  # ties stay ties


def _compute_tails(values: np.ndarray) -> tuple[float, float]:
    """Return the shares of draws below and above which an interval of 95 % ends.

    With several splits it is as wide as the factor with the fewest levels requires.
    """
    min_levels = min(count for count in values.shape[:2] if count > 1)
    quantile = stats.t.ppf(0.975, min_levels - 1) * math.sqrt(min_levels / (min_levels - 1))
    tail = float(stats.norm.sf(quantile))
    return tail, 1 - tail


def _compute_spearman(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Compute Spearman's rho of each row; 0 where all of a row is equal."""
    value_ranks, target_ranks = stats.rankdata(values, axis=1), stats.rankdata(target)
    value_ranks, target_ranks = (
        value_ranks - value_ranks.mean(axis=1, keepdims=True),
        target_ranks - target_ranks.mean(),
    )
    scale = np.sqrt((value_ranks**2).sum(axis=1) * (target_ranks**2).sum())
    return np.divide(
        value_ranks @ target_ranks, scale, out=np.zeros(len(value_ranks)), where=scale > 0
    )
