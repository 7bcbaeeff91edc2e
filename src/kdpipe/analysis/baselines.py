"""Baselines: what the chosen student is compared with, each by its name.

Scratch at equal cost, for each definition of cost: for as many operations as the student takes
alone, as it takes with its teacher's answers, and as everything takes that is trained along its
path (bounded by `footprint.MAX_EPOCHS_MULTIPLIER`); the best full teacher with full KD; an ensemble
of equal size, with as many scratch runs as networks stand on the chosen path; and one of equal
operations, with as many scratch runs as classify an image for what the teacher costs. A baseline
that the study lacks is named with what to write into the study file.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from kdpipe.analysis.frame_queries import (
    PATH_SEPARATOR,
    filter_rows,
    get_series_by_seed,
    group_rows,
    pivot_by_seed,
    select_direct_students,
    select_scratch_ensembles,
)
from kdpipe.plan.footprint import MAX_EPOCHS_MULTIPLIER, compute_epochs_multiplier
from kdpipe.stats.intervals import select_leave_one_out

NO_ERRORS = pd.Series(dtype=float)


@dataclass(frozen=True)
class Baseline:
    """A baseline with its errors by seed.

    Attributes
    ----------
    name : str
        What it is.
    errors : Series
        Test errors by seed; empty where there are none.
    remedy : str
        How to get them.
    kind : str
        `scratch`; `equal size`: as many scratch runs as the path has networks; else empty.
    copies : int
        Networks that answer together.
    """

    name: str
    errors: pd.Series
    remedy: str = "not run yet"
    kind: str = ""  # scratch; equal size: as many scratch runs as the path has networks
    copies: int = 1  # networks that answer together


def find_baselines(
    frame: pd.DataFrame, student: str, rows: pd.DataFrame, cell: pd.DataFrame
) -> Iterator[Baseline]:
    """Yield the baselines of one student.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame.
    student : str
        The network.
    rows, cell : DataFrame
        All rows that end in it, and those of the recommended option.
    """
    scratch = get_series_by_seed(filter_rows(frame, kind="scratch", student=student))
    yield Baseline("the same network on labels alone (scratch)", scratch, kind="scratch")
    yield _find_full_teacher(student, rows)
    yield from _find_scratch_long(frame, student, cell)
    yield from _find_ensembles(frame, student, cell)


def _find_full_teacher(student: str, rows: pd.DataFrame) -> Baseline:
    """Return the best fully trained teacher with full KD."""
    full_kd = filter_rows(select_direct_students(rows), stop_kind="full", method_kind="kd")
    name = "the best full teacher with full KD (chosen alike)"
    if full_kd.empty:
        remedy = (
            f"add an experiment that teaches {student} directly, with stops: [full] and a method "
            "whose kd_weight is above 0 and which has no stop_epoch"
        )
        return Baseline(name, NO_ERRORS, remedy)
    columns = ("val_error", "test_error")
    validation, test = (pivot_by_seed(full_kd, "teacher", "method", column=c) for c in columns)
    if len(test.columns) == 1:
        return Baseline("its fully trained teacher with full KD", test.iloc[:, 0].dropna())
    return Baseline(name, select_leave_one_out(validation, test)[1])


def _find_scratch_long(frame: pd.DataFrame, student: str, cell: pd.DataFrame) -> Iterator[Baseline]:
    """Yield scratch at equal cost, that of the recommended option first."""
    longer = filter_rows(frame, kind="scratch_long", student=student)
    rows_by_epochs = {int(key["epochs"]): rows for key, rows in group_rows(longer, "epochs")}
    for epochs, reasons in _list_epoch_budgets(cell.iloc[0]).items():
        name = f"scratch for {epochs} epochs, {' = '.join(reasons)} (scratch_long)"
        if epochs in rows_by_epochs:
            yield Baseline(name, get_series_by_seed(rows_by_epochs.pop(epochs)))
        else:
            block = cell.block.iloc[0]
            yield Baseline(name, NO_ERRORS, f"write scratch_long: true into the experiment {block}")
    for epochs, rows in sorted(rows_by_epochs.items()):
        teachers = " and ".join(dict.fromkeys(rows.teacher))
        yield Baseline(
            f"scratch for {epochs} epochs, a price of {teachers} as teacher",
            get_series_by_seed(rows),
        )


def _list_epoch_budgets(row: pd.Series) -> dict[int, list[str]]:
    """Return the epochs of scratch that each cost of a student pays for, with its name."""
    budgets = {
        "the operations of it and its teacher's answers": (row.teacher_macs, math.inf),
        "the operations of all that is trained along its path": (
            row.teacher_macs + row.ancestor_macs,
            MAX_EPOCHS_MULTIPLIER,
        ),
    }
    reasons_by_epochs: dict[int, list[str]] = {}
    for reason, (extra_macs, max_factor) in budgets.items():
        if not row.train_macs > 0 or math.isnan(extra_macs):
            continue
        factor = compute_epochs_multiplier(row.train_macs, extra_macs, max_factor)
        full_factor = compute_epochs_multiplier(row.train_macs, extra_macs)
        bound = (
            f", held at {max_factor:g} times its epochs where the path pays for "
            f"{full_factor:.3g} times"
        )
        reasons_by_epochs.setdefault(round(row.epochs * factor), []).append(
            reason + (bound if factor < full_factor else "")
        )
    return reasons_by_epochs


def _find_ensembles(frame: pd.DataFrame, student: str, cell: pd.DataFrame) -> Iterator[Baseline]:
    """Yield the ensembles of scratch runs, those of equal size and equal operations among them."""
    row = cell.iloc[0]
    size = _count_path_networks(frame, row)
    n_equal_cost = int(row.teacher_multiply_adds // row.multiply_adds)
    reasons_by_size = {size: [f"equal size: the path has {size} networks"]}
    if n_equal_cost > 1:  # else it is scratch itself
        teacher = row.teacher_label
        reasons_by_size.setdefault(n_equal_cost, []).append(
            f"equal operations: what {teacher} costs an image"
        )
    ensembles_by_size: dict[int, list[tuple[str, pd.DataFrame]]] = {}
    for key, ensemble in group_rows(select_scratch_ensembles(frame, student), "ensemble", "size"):
        ensembles_by_size.setdefault(int(key["size"]), []).append((key["ensemble"], ensemble))
    ensembles_by_size.pop(1, None)
    for n_networks in sorted({*reasons_by_size, *ensembles_by_size}):
        reason = "; ".join(reasons_by_size.get(n_networks, [f"{n_networks} times the operations"]))
        labels = " = ".join(label for label, _ in ensembles_by_size.get(n_networks, []))
        name = f"{labels or 'an ensemble'}, {n_networks} scratch runs averaged ({reason})"
        fields = {"kind": "equal size" if n_networks == size else "", "copies": n_networks}
        if n_networks in ensembles_by_size:
            yield Baseline(name, get_series_by_seed(ensembles_by_size[n_networks][0][1]), **fields)
        else:
            label = f"{n_networks}-times-{student}".replace(".", "_")[
                :40
            ]  # a name may be no longer
            entry = f"{label}: {{networks: [{student}], copies: {n_networks}}}"
            yield Baseline(name, NO_ERRORS, f"write under ensembles: {entry}", **fields)


def _count_path_networks(frame: pd.DataFrame, row: pd.Series) -> int:
    """Return how many networks are trained along the path of a student, itself included."""
    via = len(row.via.split(PATH_SEPARATOR)) if row.via else 0
    return _count_teacher_networks(frame, row.teacher_label) + via + int(row.generation)


def _count_teacher_networks(frame: pd.DataFrame, teacher: str) -> int:
    """Return how many networks are behind a teacher, which may be an ensemble or a block."""
    ensembles = filter_rows(frame, kind="ensemble", ensemble=teacher)
    if len(ensembles):
        return int(ensembles["size"].iloc[0])
    path = filter_rows(frame, kind="student", block=teacher)
    path = path[path.teacher_label != teacher]
    if path.empty:
        return 1
    via = path.via.map(lambda text: len(text.split(PATH_SEPARATOR)) if text else 0)
    return _count_path_networks(frame, path.loc[(via + path.generation).idxmax()])
