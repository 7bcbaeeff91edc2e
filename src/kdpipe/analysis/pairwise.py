"""Pairwise comparisons, A or B, of the teachers, stops and methods of one student.

Two teachers are compared over the cells that agree in everything else (stop, method, ...): the
difference of a seed is the mean over these of error(A) - error(B), so negative is for A. Untrained
teachers are controls: a stop to be compared with, and in no other question. All pairs of one
student and factor hold jointly (Bonferroni over their number) over all interim analyses, and the
wider of the two intervals gives the mark. Where there are more than `MAX_PAIRS` pairs, each level
is compared with the one that has the lowest validation error over the cells that they share.
"""

from dataclasses import dataclass
from itertools import combinations
from statistics import mean

import pandas as pd

from kdpipe.analysis.dataframe import (
    UNTRAINED_STOP,
    add_error_provenance,
    filter_rows,
    group_rows,
    normalize_frame,
    pivot_by_seed,
)
from kdpipe.analysis.recommendation import (
    OPTION_COLUMNS,
    PairedGain,
    adjust_gains_jointly,
    select_terminal_students,
)
from kdpipe.stats.error_provenance import ErrorMaskLookup
from kdpipe.stats.group_sequential import SINGLE_ANALYSIS, InterimAnalysis
from kdpipe.stats.intervals import describe_difference, summarize
from kdpipe.stats.ranks import Rank, rank_options

MAX_PAIRS = 15  # pairs: of six


@dataclass(frozen=True)
class PairwiseComparison:
    """Two levels of one factor for one student.

    Attributes
    ----------
    student : str
        The network.
    factor : {"teacher", "stop", "method"}
        What differs.
    a, b : str
        The two levels.
    n_cells : int
        The cells over which they were compared.
    gain : PairedGain
        A less B.
    n_pairs : int
        The pairs that hold jointly with this one.
    rank : Rank or None
        The rank of b on validation, where all others are compared with it.
    """

    student: str
    factor: str  # teacher, stop or method
    a: str
    b: str
    n_cells: int
    gain: PairedGain
    n_pairs: int  # pairs that hold together with it
    rank: Rank | None = None  # of b on validation, where it is what all others stand against


def compare_pairwise(
    frame: pd.DataFrame,
    error_masks: ErrorMaskLookup | None = None,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
) -> list[PairwiseComparison]:
    """Compare all pairs of levels that the students of a study have, by student.

    Parameters
    ----------
    frame : DataFrame
        The results frame at one evaluation point.
    error_masks : callable or None
        Which images each run gets wrong.
    interim : InterimAnalysis
        The interim analysis that the study is at.
    """
    students = filter_rows(
        select_terminal_students(add_error_provenance(normalize_frame(frame)), with_controls=True),
        status="done",
    )
    comparisons = []
    for key, rows in group_rows(students, "student"):
        trained_rows = rows.loc[rows.stop != UNTRAINED_STOP]  # the others are controls
        for factor in ("teacher", "stop", "method"):
            factor_rows = rows if factor == "stop" else trained_rows
            comparisons += _compare_levels(
                key["student"], factor, factor_rows, error_masks, interim
            )
    return comparisons


def _compare_levels(
    student: str,
    factor: str,
    rows: pd.DataFrame,
    error_masks: ErrorMaskLookup | None,
    interim: InterimAnalysis,
) -> list[PairwiseComparison]:
    """Compare the levels of one factor for one student."""
    other_factors = [name for name in OPTION_COLUMNS if name != factor]
    test, validation = (
        pivot_by_seed(rows, factor, *other_factors),
        pivot_by_seed(rows, factor, *other_factors, column="val_error"),
    )
    levels = list(dict.fromkeys(key[0] for key in test.columns))
    cells_of_level = {
        level: {key[1:] for key in test.columns if key[0] == level} for level in levels
    }
    rank = None
    all_pairs = [
        (a, b) for a, b in combinations(levels, 2) if cells_of_level[a] & cells_of_level[b]
    ]
    if len(all_pairs) > MAX_PAIRS:
        best_level = _find_best_level(levels, cells_of_level, validation)
        rank = rank_options(_center_by_cell(levels, cells_of_level, validation)).get(best_level)
        pairs = [
            (level, best_level)
            for level in levels
            if level != best_level and cells_of_level[level] & cells_of_level[best_level]
        ]
    else:
        pairs = all_pairs
    gains, cells = [], []
    for a, b in pairs:
        values, count = _compute_difference(test, a, b, [k for k in test.columns if k[0] == a])
        if len(values):
            difference = summarize(values)
            gains.append(
                PairedGain(f"{a} against {b}", difference, describe_difference(difference), values)
            )
            cells.append((a, b, count))
    adjusted = adjust_gains_jointly(gains, error_masks, interim, n_total=len(all_pairs))
    return [
        PairwiseComparison(student, factor, a, b, count, gain, len(all_pairs), rank)
        for (a, b, count), gain in zip(cells, adjusted, strict=True)
    ]


def _compute_difference(
    test: pd.DataFrame, a: str, b: str, columns: list[tuple]
) -> tuple[pd.Series, int]:
    """Return A - B by seed, the mean over the cells that both have, and their number.

    Only seeds that have all of these cells.
    """
    shared = [key for key in columns if (b, *key[1:]) in test.columns]
    total = sum(test[key] - test[(b, *key[1:])] for key in shared)
    assert isinstance(total, pd.Series)
    values = total.dropna()
    return pd.Series([value / len(shared) for value in values], values.index, dtype=object), len(
        shared
    )


def _find_best_level(
    levels: list[str], cells_of_level: dict[str, set], validation: pd.DataFrame
) -> str:
    """Return the level with the lowest mean validation error, relative to the cells it is in."""
    mean_errors = {
        key: float(validation[key].mean()) for key in validation.columns
    }  # of what is there
    of_cell: dict[tuple, list[float]] = {}
    for key, error in mean_errors.items():
        of_cell.setdefault(key[1:], []).append(error)
    relative_error = {
        level: mean(
            mean_errors[(level, *cell)] - mean(of_cell[cell]) for cell in cells_of_level[level]
        )
        for level in levels
    }
    return min(
        levels,
        key=lambda level: (relative_error[level] != relative_error[level], relative_error[level]),
    )


def _center_by_cell(
    levels: list[str], cells_of_level: dict[str, set], validation: pd.DataFrame
) -> pd.DataFrame:
    """Return the relative validation error of each seed, of shape (n_seeds, n_levels)."""
    of_cell = {
        cell: validation[[key for key in validation.columns if key[1:] == cell]].mean(axis=1)
        for cell in {key[1:] for key in validation.columns}
    }
    return pd.DataFrame(
        {
            level: sum(validation[(level, *cell)] - of_cell[cell] for cell in cells_of_level[level])
            / len(cells_of_level[level])
            for level in levels
        }
    )
