"""Queries of the results frame: which rows belong together, and their values by seed.

A frame has one row for each position of a run in the study (see `dataframe`). `normalize_frame`
puts it into a fixed order; `filter_rows`, `select_direct_students` and `group_rows` pick cells;
`get_series_by_seed` and `pivot_by_seed` return the values of cells, each run counted once, and
`describe_gaps` what is missing. Tables, claims and figures all select by these.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kdpipe.losses.method import load_terms
from kdpipe.stats import replicates
from kdpipe.stats.error_provenance import ErrorWithProvenance
from kdpipe.user_code import explain_renamed

# What is read of a frame; a column that it lacks counts as empty.
LABEL_COLUMNS = (
    *("kind", "block", "data", "teacher", "teacher_network", "stop", "stop_kind", "via"),
    *("student", "method", "method_kind", "ensemble", "of", "run", "teacher_run", "status"),
    *("reason", "device", "torch", "reading"),
)
LOSS_COLUMNS = tuple(
    f"{split}_{loss}"
    for loss in ("nll", "kl", "cross_entropy")
    for split in ("train", "val", "test")
)
TERM_KEYS = [
    key
    for term in load_terms().values()
    if term.is_in_every_report
    for key in term.keys.model_fields
]
WEIGHT_COLUMNS = (
    "ce_weight",
    *(key for key in TERM_KEYS if key.endswith("_weight")),
    "label_smoothing",
)
NUMBER_COLUMNS = (
    *("seed", "member", "generation", "epochs", "stop_epochs", "size", "teacher_lr", "train_n"),
    *("temperature", *WEIGHT_COLUMNS, "kd_epochs", "ce_weight_after_stop"),
    *("parameters", "multiply_adds", "train_macs", "teacher_macs"),
    *("ancestor_macs", "seconds", "teacher_parameters", "teacher_multiply_adds"),
    *("teacher_val_error", "teacher_test_error", "val_error", "test_error", "test_ece"),
    *("train_kd_error", "test_kd_error", *LOSS_COLUMNS),
    *(f"{s}_{what}" for what in ("entropy", "confidence") for s in ("train", "val", "test")),
    *("best_epoch", "best_val_error", "best_test_error", "last_test_error"),
)
TRAINED_KINDS = ("scratch", "scratch_long", "student", "ensemble")  # with both evaluation points
POST_HOC_KINDS = ("probe", "gauge")  # no network as it is on the study's data
SEARCH_TRIAL_KIND = "tried"  # what a search chooses by: no evidence for what it has chosen
SHARED_TEACHER_NOTE = "one teacher for all seeds"
UNTRAINED_STOP = "checkpoint 0"  # the stop of a teacher that knows nothing: a control
PATH_SEPARATOR = " > "  # between the networks of a chain, and between the methods of its steps

if not TYPE_CHECKING:
    # What custom tables and figures imported before these were renamed.
    __getattr__ = explain_renamed(
        __name__,
        tidy="normalize_frame",
        direct="select_direct_students",
        groups="group_rows",
        where="filter_rows",
        by_seed="get_series_by_seed",
        wide="pivot_by_seed",
    )


def normalize_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame in a fixed order, with every column that is read.

    Networks are ordered by multiply-adds, stops as full, schedule, checkpoint. Left out are further
    members of a seed, which stand in ensembles only, probes, whose errors are on other data, and
    exported networks, which are the same networks in 8 bits. A study of several splits is paired by
    seed and split: `seed` is then the id of both (see `stats.replicates`). Where blocks disagree
    about a cell (one has a fixed teacher, one a teacher for each seed) their teachers read `label
    [block]`. Missing labels become empty texts.
    """
    if "kind" in frame:
        frame = frame.loc[~frame.kind.isin((*POST_HOC_KINDS, SEARCH_TRIAL_KIND))]
    extra = [column for column in frame if column not in (*LABEL_COLUMNS, *NUMBER_COLUMNS)]
    frame = frame.reindex(columns=[*LABEL_COLUMNS, *NUMBER_COLUMNS, *extra])
    labels = frame[list(LABEL_COLUMNS)].astype(object)
    frame[list(LABEL_COLUMNS)] = labels.where(labels.notna(), "").astype(str)
    if "split" in frame:
        frame["seed"] = replicates.make_replicate_id(frame.seed, frame.split)
    for column in NUMBER_COLUMNS:
        if not _has_provenance(frame[column]):
            frame[column] = pd.Series(pd.to_numeric(frame[column]), dtype=float)
    frame["generation"] = frame.generation.fillna(1).where(frame.kind == "student", 0)
    frame = frame.loc[(frame.kind == "ensemble") | (frame.member.fillna(0) == 0)].copy()
    frame["teacher_label"] = frame.teacher
    cell_of = ["student", "teacher", "stop", "via", "generation", "method", "seed"]
    students = frame[frame.kind == "student"]
    has_several_runs = students.groupby(cell_of).run.transform("nunique") > 1
    has_other_teacher = (frame.kind == "student") & frame.block.isin(
        students.block[has_several_runs]
    )
    frame["teacher"] = frame.teacher.mask(
        has_other_teacher, frame.teacher + " [" + frame.block + "]"
    )
    frame["student_rank"] = frame.groupby("student").multiply_adds.transform("min")
    frame["teacher_rank"] = frame.groupby("teacher").teacher_multiply_adds.transform("min")
    frame["stop_rank"] = frame.stop_kind.map({"full": 0, "schedule": 1, "checkpoint": 2})
    order = ("student_rank", "student", "teacher_rank", "teacher", "stop_rank", "stop_epochs")
    tie_breakers = ("via", "generation", "method", "ensemble", "kind", "block", "seed")
    return frame.sort_values([*order, *tie_breakers], kind="stable", ignore_index=True)


def list_weight_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the columns in which methods of one temperature can differ, but for their stop."""
    return (*WEIGHT_COLUMNS, "terms") if "terms" in frame else WEIGHT_COLUMNS


def add_error_provenance(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose test errors know their runs (a column of objects).

    Those of teachers as they taught, and of probes on other data, know none.
    """
    numbers = pd.Series(pd.to_numeric(frame.test_error), dtype=float)
    errors = [
        ErrorWithProvenance(error, {run: 1.0})
        if kind in TRAINED_KINDS and not math.isnan(error)
        else error
        for kind, run, error in zip(frame.kind, frame.run, numbers, strict=True)
    ]
    return frame.assign(test_error=pd.Series(errors, index=frame.index, dtype=object))


def select_export_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the exported networks, normalized, each as what it is (scratch, student, ...).

    Their errors are those in 8 bits; `own_error` and `own_val_error` are those in float32.
    """
    rows = frame.loc[frame.kind == "gauge"]
    return normalize_frame(rows.assign(kind=rows["of"])) if len(rows) else rows


def _has_provenance(errors) -> bool:
    """Return whether a column holds errors that know their runs."""
    return errors.dtype == object and any(
        isinstance(error, ErrorWithProvenance) for error in errors
    )


def restrict_to_blocks(frame: pd.DataFrame, reads: list[str]) -> pd.DataFrame:
    """Select what a table or claim reads: its blocks and ensembles, and every scratch run."""
    is_read = frame.block.isin(reads) | (frame.kind == "scratch")
    if "ensemble" in frame:
        is_read |= frame.ensemble.isin(reads)
    return frame.loc[is_read].reset_index(drop=True)


def filter_rows(frame: pd.DataFrame, **values) -> pd.DataFrame:
    """Select the rows with these values.

    Parameters
    ----------
    frame : DataFrame
        The rows.
    **values
        By column a value, or a list of which any counts; NaN equals NaN.
    """
    mask = pd.Series(True, index=frame.index)
    for column, value in values.items():
        if isinstance(value, list):
            mask &= frame[column].isin(value)
        else:
            mask &= frame[column].isna() if pd.isna(value) else frame[column] == value
    return frame.loc[mask]


def select_direct_students(frame: pd.DataFrame) -> pd.DataFrame:
    """Select the students with no network between them and their teacher, first generation."""
    return frame.loc[(frame.kind == "student") & (frame.via == "") & (frame.generation <= 1)]


def select_label_trained_teachers(frame: pd.DataFrame) -> pd.DataFrame:
    """Select the rows whose teacher is one network trained on labels."""
    is_label_trained = (frame.teacher_network != "") & (
        frame.teacher_label == frame.teacher_network
    )
    return frame.loc[is_label_trained]


def select_scratch_ensembles(frame: pd.DataFrame, student: str) -> pd.DataFrame:
    """Select the ensembles of scratch runs of one network, without snapshots of one run."""
    ensembles = filter_rows(frame, kind="ensemble", student=student, of=student)
    if "whole" not in ensembles:
        return ensembles
    return ensembles.loc[[str(is_whole) != "False" for is_whole in ensembles.whole]]


def group_rows(rows: pd.DataFrame, *keys: str) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Yield the cells, rows that agree in the keys, in the order of the rows.

    Yields
    ------
    key : dict
        The value of each key.
    cell : DataFrame
        The rows.
    """
    values: Any  # a tuple, also of one key
    for values, cell in rows.groupby(list(keys), sort=False, dropna=False):
        yield dict(zip(keys, values, strict=True)), cell


def find_finished_rows(cell: pd.DataFrame) -> list[int]:
    """Return the positions of the finished runs of one cell, each run once.

    A run may stand in several blocks.

    Raises
    ------
    ValueError
        If there are two runs of one seed, which cannot be of one cell.
    """
    position_of_run: dict[str, int] = {}
    for position, (run, status) in enumerate(
        zip(_list_column(cell, "run"), _list_column(cell, "status"), strict=True)
    ):
        if status == "done":
            position_of_run.setdefault(run, position)
    positions = list(position_of_run.values())
    seeds = _list_column(cell, "seed")
    seeds = [seeds[position] for position in positions]
    if len(set(seeds)) < len(seeds):
        duplicates = [
            run for run, seed in zip(position_of_run, seeds, strict=True) if seeds.count(seed) > 1
        ]
        raise ValueError(f"one cell, one seed, but several runs: {', '.join(duplicates)}")
    return positions


def get_series_by_seed(cell: pd.DataFrame, column: str = "test_error") -> pd.Series:
    """Return the values of one cell by seed; runs that are not done have none."""
    # An error that knows its runs (see `stats.error_provenance`) stays what it is: an object.
    dtype = object if cell[column].dtype == object else float
    return pd.Series(get_values_by_seed(cell, column), dtype=dtype).rename_axis("seed")


def get_values_by_seed(
    cell: pd.DataFrame, column: str, positions: list[int] | None = None
) -> dict[float, float]:
    """Return the values of one cell by seed as a dict, faster than `get_series_by_seed`.

    Parameters
    ----------
    cell : DataFrame
        The rows of the cell.
    column : str
        The column of the values.
    positions : list of int or None
        The finished rows, where they are known (see `find_finished_rows`).
    """
    seeds, cell_values = _list_column(cell, "seed"), _list_column(cell, column)
    value_of_seed = {
        seeds[position]: cell_values[position]
        for position in (find_finished_rows(cell) if positions is None else positions)
    }
    return {
        seed: value_of_seed[seed]
        for seed in sorted(value_of_seed)
        if not math.isnan(value_of_seed[seed])
    }


def pivot_by_seed(rows: pd.DataFrame, *keys: str, column: str = "test_error") -> pd.DataFrame:
    """Return the values of many cells as a frame of shape (n_seeds, n_cells).

    Missing values are NaN. A cell without any finished run keeps its column, and a seed without any
    its row.

    Parameters
    ----------
    rows : DataFrame
        The rows of all cells.
    *keys : str
        The columns that make a cell; their values are its label.
    column : str
        The column of the values.

    Raises
    ------
    ValueError
        If there are two runs of one seed in one cell.
    """
    seeds, cell_values = _list_column(rows, "seed"), _list_column(rows, column)
    runs, status = _list_column(rows, "run"), _list_column(rows, "status")
    labels = [[_normalize_key(value) for value in _list_column(rows, key)] for key in keys]
    row_of_seed = {
        seed: position for position, seed in enumerate(sorted({s for s in seeds if s == s}))
    }
    column_of_cell = {
        key: position for position, key in enumerate(dict.fromkeys(zip(*labels, strict=True)))
    }
    dtype = object if rows[column].dtype == object else float
    table = np.full((len(row_of_seed), len(column_of_cell)), math.nan, dtype=dtype)
    run_of_cell: dict[tuple, str] = {}
    for key, seed, run, value, state in zip(
        zip(*labels, strict=True), seeds, runs, cell_values, status, strict=True
    ):
        if state != "done":
            continue
        first_run = run_of_cell.setdefault((key, seed), run)
        if first_run != run:
            raise ValueError(f"one cell, one seed, but several runs: {first_run}, {run}")
        position = (row_of_seed[seed], column_of_cell[key])
        if value == value and table[position] != table[position]:  # the first that is not nan
            table[position] = value
    index = pd.Index(list(row_of_seed), dtype=float)
    if len(keys) == 1:
        return pd.DataFrame(table, index, pd.Index([key for (key,) in column_of_cell]))
    return pd.DataFrame(
        table, index, pd.MultiIndex.from_tuples(list(column_of_cell)) if column_of_cell else None
    )


def _normalize_key(value: Any) -> Any:
    """Return a value as a part of a key, in which NaN equals NaN."""
    return math.nan if value != value else value


def get_teacher_errors(cell: pd.DataFrame) -> dict[float, float]:
    """Return the test errors of the teachers by seed; a shared teacher counts once."""
    errors_by_seed: dict[float, float] = {}
    runs = set()
    columns = ("teacher_run", "seed", "teacher_test_error")
    for run, seed, error in zip(*(_list_column(cell, column) for column in columns), strict=True):
        if run not in runs and not math.isnan(error):
            runs.add(run)
            errors_by_seed.setdefault(seed, error)
    return errors_by_seed


def describe_gaps(cell: pd.DataFrame) -> str:
    """Return what a cell lacks and why, whether its seeds share a teacher, and mixed machines."""
    if cell.empty:
        return "not in this study"
    columns = ("run", "status", "test_error", "reason", "teacher_run", "device", "torch")
    facts_by_run: dict[str, tuple] = {}
    for run, *facts in zip(*(cell[column].to_numpy().tolist() for column in columns), strict=True):
        facts_by_run.setdefault(run, tuple(facts))
    missing: Counter[str] = Counter()
    reasons = {}
    n_done = 0
    for status, error, reason, *_ in facts_by_run.values():
        if status == "done" and error == error:  # not nan
            n_done += 1
            continue
        missing[{"done": "without a test error", "": "missing"}.get(status, status)] += 1
        reasons[reason] = True
    messages = [f"{count} {state}" for state, count in missing.most_common()]
    reasons.pop("", None)
    if reasons and not n_done:
        messages.append(next(iter(reasons)))
    if n_done > 1 and len({facts[3] for facts in facts_by_run.values()} - {""}) == 1:
        messages.append(SHARED_TEACHER_NOTE)
    for name, index in (("devices", 4), ("versions of torch", 5)):
        distinct = sorted({facts[index] for facts in facts_by_run.values()} - {""})
        if len(distinct) > 1:
            messages.append(f"mixes {name}: {' and '.join(distinct)}")
    return "; ".join(messages)


def add_path_label(key: dict) -> dict:
    """Return the labels of a cell, and before them its networks from teacher to student."""
    path_names = [key["teacher"], *key["via"].split(PATH_SEPARATOR), key["student"]]
    return {"path": PATH_SEPARATOR.join(name for name in path_names if name), **key}


def _list_column(cell: pd.DataFrame, column: str) -> list:
    """Return a column as a list."""
    return cell[column].to_numpy().tolist()
