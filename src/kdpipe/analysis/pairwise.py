"""Pairwise comparisons, A or B, of the teachers, stops and methods of one student.

Two teachers are compared over the cells that agree in everything else (stop, method, ...): the
difference of a seed is the mean over these of error(A) - error(B), so negative is for A. Untrained
teachers are controls: a stop to be compared with, and in no other question. All pairs of one
student and factor hold jointly (Bonferroni over their number) over all interim analyses, and the
wider of the two intervals gives the mark.

Where there are more than `MAX_PAIRS` pairs, each level is compared with the best one on validation.
Which is best is read from one additive fit, level + cell, since levels occur in different cells: a
mean over a level's own cells would compare cells. Only cells with two levels or more tell levels
apart, and only levels that a chain of shared cells connects can be compared: each such part has a
best level of its own. Controls take no part in the fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.sparse import csgraph

from kdpipe.analysis.contest import OPTION_COLUMNS, select_terminal_students
from kdpipe.analysis.dataframe import (
    UNTRAINED_STOP,
    add_error_provenance,
    add_image_provenance,
    filter_rows,
    get_validation_size,
    group_rows,
    normalize_frame,
    pivot_by_seed,
)
from kdpipe.analysis.recommendation import PairedGain, adjust_gains_jointly
from kdpipe.stats.error_provenance import ErrorMaskLookup, ErrorWithProvenance
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
        A minus B.
    n_pairs : int
        The pairs that hold jointly with this one.
    rank : Rank or None
        The rank of b on validation, where it is the reference of the other levels.
    best_on_shared : str or None
        The best level on validation over the cells that all levels share, where that is not the
        reference b.
    """

    student: str
    factor: str
    a: str
    b: str
    n_cells: int
    gain: PairedGain
    n_pairs: int
    rank: Rank | None = None
    best_on_shared: str | None = None


@dataclass(frozen=True)
class _LevelFit:
    """The additive fit, level + cell, of the validation errors of one part of the levels.

    Attributes
    ----------
    effects : dict of str to float
        The effect of each level over all seeds, in points; their mean is 0.
    ranks : dict of str to Rank
        The ranks of the levels, by the model of `stats.posterior` for the effects by seed.
    best_on_shared : str or None
        The best level over the cells that all levels of the part share; None without such a cell.
    """

    effects: dict[str, float]
    ranks: dict[str, Rank]
    best_on_shared: str | None

    @property
    def best_level(self) -> str:
        """The level with the lowest error."""
        return min(self.effects, key=lambda level: self.effects[level])


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
    comparisons = []
    for student, factor, rows in _split_by_factor(frame):
        comparisons += _compare_levels(student, factor, rows, error_masks, interim)
    return comparisons


def find_incomparable_levels(frame: pd.DataFrame) -> list[tuple[str, str, list[list[str]]]]:
    """Return the factors whose levels no chain of shared cells connects, with their parts.

    Parameters
    ----------
    frame : DataFrame
        The results frame at one evaluation point.

    Returns
    -------
    list of (student, factor, parts)
        Levels of one part can be compared with each other, those of two parts cannot. Controls are
        left out.
    """
    incomparable = []
    for student, factor, rows in _split_by_factor(frame):
        test = pivot_by_seed(rows, factor, *_list_other_factors(factor))
        levels, cube = _to_cube(_drop_controls(test))
        parts = [[levels[position] for position in part] for part in _connect_levels(cube)]
        if len(parts) > 1:
            incomparable.append((student, factor, parts))
    return incomparable


def _split_by_factor(frame: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Return the rows of each student and factor; controls are kept for stops alone."""
    students = filter_rows(
        select_terminal_students(add_error_provenance(normalize_frame(frame)), with_controls=True),
        status="done",
    )
    return [
        (
            key["student"],
            factor,
            rows if factor == "stop" else rows.loc[rows.stop != UNTRAINED_STOP],
        )
        for key, rows in group_rows(students, "student")
        for factor in ("teacher", "stop", "method")
    ]


def _list_other_factors(factor: str) -> list[str]:
    """Return the columns that make a cell, but for one factor."""
    return [name for name in OPTION_COLUMNS if name != factor]


def _compare_levels(
    student: str,
    factor: str,
    rows: pd.DataFrame,
    error_masks: ErrorMaskLookup | None,
    interim: InterimAnalysis,
) -> list[PairwiseComparison]:
    """Compare the levels of one factor for one student."""
    other_factors = _list_other_factors(factor)
    test = pivot_by_seed(rows, factor, *other_factors)
    levels = list(dict.fromkeys(key[0] for key in test.columns))
    cells_of_level = {
        level: {key[1:] for key in test.columns if key[0] == level} for level in levels
    }
    all_pairs = [
        (a, b) for a, b in combinations(levels, 2) if cells_of_level[a] & cells_of_level[b]
    ]
    pairs, fit_of_level = all_pairs, {}
    if len(all_pairs) > MAX_PAIRS:
        by_image = add_image_provenance(rows, "val_error")
        validation = pivot_by_seed(by_image, factor, *other_factors, column="val_error")
        size = get_validation_size(rows)
        fits = _fit_levels(_drop_controls(validation), error_masks, size)
        pairs = _pair_with_references(levels, cells_of_level, fits)
        fit_of_level = {fit.best_level: fit for fit in fits}
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
    comparisons = []
    for (a, b, count), gain in zip(cells, adjusted, strict=True):
        pair = PairwiseComparison(student, factor, a, b, count, gain, len(all_pairs))
        if (fit := fit_of_level.get(b)) is not None:
            other = None if fit.best_on_shared == b else fit.best_on_shared
            pair = replace(pair, rank=fit.ranks.get(b), best_on_shared=other)
        comparisons.append(pair)
    return comparisons


def _pair_with_references(
    levels: list[str], cells_of_level: dict[str, set], fits: list[_LevelFit]
) -> list[tuple[str, str]]:
    """Return each level with the best one on validation that it shares a cell with."""
    effects = {level: effect for fit in fits for level, effect in fit.effects.items()}
    references = {fit.best_level for fit in fits}
    pairs: dict[frozenset[str], tuple[str, str]] = {}
    for level in levels:
        others = [
            other
            for other in effects
            if other != level and cells_of_level[level] & cells_of_level[other]
        ]
        if level not in references and others:
            reference = min(others, key=lambda other: effects[other])
            pairs.setdefault(frozenset((level, reference)), (level, reference))
    return list(pairs.values())


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


def _drop_controls(errors: pd.DataFrame) -> pd.DataFrame:
    """Return errors without the columns of untrained teachers; columns: level, *cell."""
    return errors.drop(columns=[key for key in errors.columns if key[0] == UNTRAINED_STOP])


def _to_cube(errors: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Return the levels, and the errors of shape (replicates, cells, levels) with NaN as holes."""
    levels = list(dict.fromkeys(key[0] for key in errors.columns))
    cells = list(dict.fromkeys(key[1:] for key in errors.columns))
    cube = np.full((len(errors), len(cells), len(levels)), np.nan)
    values = errors.to_numpy(float)
    for column, key in enumerate(errors.columns):
        cube[:, cells.index(key[1:]), levels.index(key[0])] = values[:, column]
    return levels, cube


def _connect_levels(cube: np.ndarray) -> list[list[int]]:
    """Return the positions of levels by parts that a chain of shared cells connects."""
    blocks = np.isfinite(cube).reshape(-1, cube.shape[2]).astype(int)
    count, part_of_level = csgraph.connected_components(blocks.T @ blocks, directed=False)
    return [np.flatnonzero(part_of_level == part).tolist() for part in range(count)]


def _fit_levels(
    validation: pd.DataFrame, outcomes: ErrorMaskLookup | None, n_validation: float
) -> list[_LevelFit]:
    """Fit level + cell to the validation errors of each part that has two levels or more.

    Each replicate has effects of its own for the cells, so that a run that is missing moves no
    level. Where all runs are there, the mean of the fits of single replicates is the fit of all:
    ranks are therefore taken from the former.
    """
    levels, cube = _to_cube(validation)
    fits = []
    for part in _connect_levels(cube):
        if len(part) < 2:
            continue
        names = [levels[position] for position in part]
        errors = cube[:, :, part]
        is_used = np.isfinite(errors).any(axis=0)  # (cells, levels): what the study has
        is_used &= is_used.sum(axis=1, keepdims=True) > 1
        is_complete = np.isfinite(errors[:, is_used]).all(axis=1)
        by_replicate = _combine_cells(validation.loc[is_complete], names, is_used)
        fits.append(
            _LevelFit(
                dict(zip(names, _solve_effects(errors).tolist(), strict=True)),
                rank_options(by_replicate, None, outcomes, n_validation),
                _find_shared_best(errors, names),
            )
        )
    return fits


def _solve_effects(errors: np.ndarray) -> np.ndarray:
    """Return the least squares effects of levels, with a free effect for each cell and replicate.

    The normal equations, cells eliminated; the pseudoinverse gives effects whose mean is 0.

    Parameters
    ----------
    errors : ndarray of float, shape (replicates, cells, levels)
        Errors in points, NaN as holes.

    Returns
    -------
    ndarray of float, shape (levels,)
        Effects in points.
    """
    blocks = errors.reshape(-1, errors.shape[2])
    blocks = blocks[np.isfinite(blocks).sum(axis=1) > 1]  # the effect of its cell takes a lone one
    is_there = np.isfinite(blocks).astype(float)
    counts = is_there.sum(axis=1, keepdims=True)
    deviations = np.nan_to_num(blocks - np.nanmean(blocks, axis=1, keepdims=True))
    matrix = np.diag(is_there.sum(axis=0)) - is_there.T @ (is_there / counts)
    return np.linalg.pinv(matrix, hermitian=True) @ deviations.sum(axis=0)


def _combine_cells(
    validation: pd.DataFrame, levels: Sequence[str], is_used: np.ndarray
) -> pd.DataFrame:
    """Return the effects of levels by replicate, as sums of errors that know their runs.

    Parameters
    ----------
    validation : DataFrame, shape (replicates, columns)
        Errors with provenance of replicates that have all runs; columns: level, *cell.
    levels : sequence of str
        The levels of one part.
    is_used : ndarray of bool, shape (cells, levels)
        What the study has, of cells with two levels or more.

    Returns
    -------
    DataFrame, shape (replicates, levels)
        The effects in points.
    """
    cells = list(dict.fromkeys(key[1:] for key in validation.columns))
    used = list(zip(*np.nonzero(is_used), strict=True))
    keys = [(levels[level], *cells[cell]) for cell, level in used]
    # The effects are linear in the errors: those of one error of 1 are its weights.
    weights = np.zeros((len(levels), len(used)))
    for i, position in enumerate(used):
        unit = np.where(is_used, 0.0, np.nan)
        unit[position] = 1.0
        weights[:, i] = _solve_effects(unit[None])
    rows = [
        [
            sum(
                (error * weight for weight, error in zip(row, errors, strict=True)),
                start=ErrorWithProvenance(0.0, {}),
            )
            for row in weights.tolist()
        ]
        for errors in validation[keys].to_numpy(object)
    ]
    return pd.DataFrame(rows, validation.index, pd.Index(levels), dtype=object)


def _find_shared_best(errors: np.ndarray, levels: Sequence[str]) -> str | None:
    """Return the level with the lowest mean error over the cells that all levels share."""
    is_shared = np.all(np.isfinite(errors).max(axis=0), axis=1)
    shared = errors[:, is_shared]
    complete = shared[np.isfinite(shared).reshape(len(shared), -1).all(axis=1)]
    return levels[int(complete.mean(axis=(0, 1)).argmin())] if complete.size else None
