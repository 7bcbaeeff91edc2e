"""What one number is of: a seed, or a seed in one split of the data.

Seeds and splits are crossed: every seed is trained in every split. A unit is one number, so that
whatever is paired and indexed by seed is paired by seed and split where a study has several: the
seed itself in split 0, and 2^31 more for each further split.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

APART = 2**31  # seeds lie below it; splits below 2^20, so a float64 holds every unit exactly


def of(seed: float, split: float) -> float:
    """The unit of a seed in a split; also of columns of them."""
    return seed + APART * split


def seeds(units: Iterable[float]) -> np.ndarray:
    """The seed of each unit."""
    return np.asarray(list(units), dtype=float) % APART


def splits(units: Iterable[float]) -> np.ndarray:
    """The split of each unit."""
    return np.asarray(list(units), dtype=float) // APART


def grid(values: pd.Series) -> pd.DataFrame:
    """Values by unit as seeds x splits; seeds that lack one of the splits are left out.

    Raises ValueError where a unit occurs twice.
    """
    if values.index.has_duplicates:
        raise ValueError(f"a unit occurs twice: {sorted(values.index)}")
    rows, row = np.unique(seeds(values.index), return_inverse=True)
    columns, column = np.unique(splits(values.index), return_inverse=True)
    table = np.full((len(rows), len(columns)), np.nan)
    table[row, column] = values
    whole = ~np.isnan(table).any(axis=1)
    return pd.DataFrame(table[whole], rows[whole], columns)


def count(units: Iterable[float]) -> str:
    """How many there are, in words: `5 seeds`, or `5 seeds x 3 splits`."""
    known = list(units)
    number, of_splits = len(set(seeds(known))), len(set(splits(known)))
    return f"{number} seed{'s' * (number != 1)}" + (
        f" x {of_splits} splits" if of_splits > 1 else ""
    )


def apart(unit: float, units: Iterable[float]) -> np.ndarray:
    """Which units have nothing to do with one: another seed and, of several splits, another split.

    What a study has one of (a seed, a split) cannot be left out, and does not set apart.
    """
    known = list(units)
    found = np.ones(len(known), dtype=bool)
    for axis in (seeds(known), splits(known)):
        if len(set(axis)) > 1:
            found &= axis != axis[known.index(unit)]
    return found
