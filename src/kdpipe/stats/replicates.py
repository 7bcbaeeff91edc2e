"""Replicates: the independent units over which an error is averaged and paired.

A replicate is a seed or, in a study with several splits of the data, a seed in one split. Seeds
and splits are crossed: every seed is trained in every split. A replicate is one number, so that
series and frames are paired and indexed by a plain `seed` column: the seed itself in split 0, and
2^31 more for each further split.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

Halves = Mapping[float, int]  # by seed: 1 or 2, see `assign_halves`
SPLIT_STRIDE = (
    2**31
)  # seeds lie below it; splits below 2^20, so a float64 holds every replicate exactly


def make_replicate_id(seed: float, split: float) -> float:
    """Return the replicate of a seed in a split.

    Parameters
    ----------
    seed : float or array-like
        Seed, below 2^31.
    split : float or array-like
        Split, below 2^20.

    Returns
    -------
    float or array-like
        One number for both, of the type of the arguments.
    """
    return seed + SPLIT_STRIDE * split


def get_seeds(replicate_ids: Iterable[float]) -> np.ndarray:
    """Return the seed of each replicate.

    Parameters
    ----------
    replicate_ids : iterable of float
        Replicates, as `make_replicate_id` makes them.

    Returns
    -------
    ndarray of float
        Seeds, in the same order.
    """
    return np.asarray(list(replicate_ids), dtype=float) % SPLIT_STRIDE


def get_splits(replicate_ids: Iterable[float]) -> np.ndarray:
    """Return the split of each replicate.

    Parameters
    ----------
    replicate_ids : iterable of float
        Replicates, as `make_replicate_id` makes them.

    Returns
    -------
    ndarray of float
        Splits, in the same order.
    """
    return np.asarray(list(replicate_ids), dtype=float) // SPLIT_STRIDE


def has_several_splits(replicate_ids: Iterable[float]) -> bool:
    """Return whether replicates are of more than one split.

    Parameters
    ----------
    replicate_ids : iterable of float
        Replicates, as `make_replicate_id` makes them.

    Returns
    -------
    bool
        False also for no replicates.
    """
    return len(set(get_splits(replicate_ids))) > 1


def to_grid(values: pd.Series) -> pd.DataFrame:
    """Return values by replicate as a frame of seeds and splits.

    Seeds that lack one of the splits are left out.

    Parameters
    ----------
    values : Series of float
        Values indexed by replicate.

    Returns
    -------
    DataFrame, shape (seeds, splits)
        The values of seeds that have every split, in ascending order.

    Raises
    ------
    ValueError
        If a replicate occurs twice.
    """
    if values.index.has_duplicates:
        raise ValueError(f"a replicate occurs twice: {sorted(values.index)}")
    seeds, row = np.unique(get_seeds(values.index), return_inverse=True)
    splits, column = np.unique(get_splits(values.index), return_inverse=True)
    grid = np.full((len(seeds), len(splits)), np.nan)
    grid[row, column] = values
    is_complete = ~np.isnan(grid).any(axis=1)
    return pd.DataFrame(grid[is_complete], seeds[is_complete], splits)


def assign_halves(seeds: Iterable[float]) -> dict[float, int]:
    """Return in which half each seed is: the 1st, 3rd, 5th ... are half 1, the others half 2.

    Parameters
    ----------
    seeds : iterable of float
        All seeds of a study in its order, so that more seeds move none to the other half.

    Returns
    -------
    dict of float to int
        1 or 2 by seed.
    """
    return {seed: 1 + position % 2 for position, seed in enumerate(dict.fromkeys(seeds))}


def merge_halves(*halves: "Halves | None") -> "Halves | None":
    """Return the halves of values that rest on several choices; None if none was by halves."""
    known = [half for half in halves if half is not None]
    return {seed: group for half in known for seed, group in half.items()} if known else None


def find_groups(seeds: Iterable[float], halves: "Halves | None") -> list[int] | None:
    """Return the half of each seed; None if there are no halves, or these are of one only."""
    if halves is None:
        return None
    groups = [halves[seed] for seed in seeds]
    return groups if len(set(groups)) > 1 else None


def describe_replicates(replicate_ids: Iterable[float]) -> str:
    """Return how many replicates there are: `5 seeds`, or `5 seeds x 3 splits`.

    Parameters
    ----------
    replicate_ids : iterable of float
        Replicates; repeated ones count once.

    Returns
    -------
    str
        The counts in words.
    """
    ids = list(replicate_ids)
    n_seeds, n_splits = len(set(get_seeds(ids))), len(set(get_splits(ids)))
    return f"{n_seeds} seed{'s' * (n_seeds != 1)}" + (
        f" x {n_splits} splits" if n_splits > 1 else ""
    )


def find_independent(replicate_id: float, replicate_ids: Iterable[float]) -> np.ndarray:
    """Return which replicates share neither the seed nor the split of one replicate.

    If there is only one seed, or only one split, it cannot be left out and is ignored.

    Parameters
    ----------
    replicate_id : float
        One of the replicates.
    replicate_ids : iterable of float
        All replicates.

    Returns
    -------
    ndarray of bool, shape (replicates,)
        Whether each replicate is independent of that one.
    """
    ids = list(replicate_ids)
    mask = np.ones(len(ids), dtype=bool)
    for axis in (get_seeds(ids), get_splits(ids)):
        if len(set(axis)) > 1:
            mask &= axis != axis[ids.index(replicate_id)]
    return mask
